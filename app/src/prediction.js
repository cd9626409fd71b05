// lesionedge/prediction.py in the browser: from probabilities to the result format.

/**
 * Return a prediction with the keys of `lesionedge predict --format json`.
 * @param probabilities One a class.
 * @param model {name, labels: [{label, name, malignant}], point, source}.
 * @param profile The site profile that made the probabilities, or null.
 */
export function predict(probabilities, model, { warnings, reliable, timings_ms, profile = null }) {
  const order = model.labels.map((_, number) => number).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const top = order.map((number) => {
    const { label, name } = model.labels[number];
    return { label, name, probability: probabilities[number] };
  });
  const malignant = malignantProbability(probabilities, model.labels);
  return {
    ...top[0], malignant_probability: malignant, top, reliable,
    warnings: warnings.map(({ text }) => text), warning_codes: warnings.map(({ code }) => code),
    operating_point: side(profile ? ofProfile(profile, model) : model, malignant), model: model.name, timings_ms,
    ...(profile && { profile: profile.name }),
  };
}

function malignantProbability(probabilities, labels) {
  if (labels.some(({ malignant }) => malignant === null)) return null;
  const sum = labels.reduce((total, { malignant }, i) => total + (malignant ? probabilities[i] : 0), 0);
  return Math.min(sum, 1);
}

function side({ point, source }, malignant) {
  if (!point || malignant === null) return null;
  const { sensitivity, measured_specificity: specificity, threshold, of = "malignant" } = point;
  return {
    sensitivity, specificity, threshold, above: malignant >= threshold, source, ...(of !== "malignant" && { of }),
  };
}

/** Return a profile's threshold and where it comes from: one that is not guaranteed is the model card's. */
const ofProfile = ({ name, point }, model) => ({ point, source: point?.guaranteed ? name : model.source });

/** Return the classes as the bars of result.js take them. */
export function bars(found, labels) {
  const kinds = new Map(labels.map(({ label, malignant }) => [label, malignant]));
  return found.top.map(({ label, name, probability }) => (
    { label: name, prob: probability, code: label, malignant: kinds.get(label) }
  ));
}
