// Fetches the files that lie beside this one.

import { Fault } from "./fault.js";

/** Return the response; a Fault says that there is none. */
export async function fetched(name) {
  let response;
  try {
    response = await fetch(new URL(name, import.meta.url));
  } catch {
    throw new Fault("unreachable");
  }
  if (!response.ok) throw new Fault("unreachable");
  return response;
}

/** Return what the app knows of its models. */
export const fetchedFacts = async () => (await fetched("facts.json")).json();
