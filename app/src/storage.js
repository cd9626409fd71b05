// Settings that stay on this device. Where the browser does not allow that, they last as long as the page.

const held = new Map();

/** Return a setting, or null. */
export function remembered(key) {
  if (held.has(key)) return held.get(key);
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Keep a setting. */
export function remember(key, value) {
  held.delete(key);
  try {
    localStorage.setItem(key, value);
  } catch {
    held.set(key, value);
  }
}

/** Forget a setting. */
export function forget(key) {
  held.delete(key);
  try {
    localStorage.removeItem(key);
  } catch {
    // it was never kept
  }
}
