// lesionedge/prediction.py in the browser: from probabilities to the result format.

/**
 * Return a prediction with the keys of `lesionedge predict --format json`.
 * @param probabilities One a class.
 * @param model {name, labels: [{label, name, malignant}], points, source}.
 */
export function predict(probabilities, model, { warnings, reliable, timings_ms }) {
  const order = model.labels.map((_, number) => number).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const top = order.map((number) => {
    const { label, name } = model.labels[number];
    return { label, name, probability: probabilities[number] };
  });
  const malignant = malignantProbability(probabilities, model.labels);
  return {
    ...top[0], malignant_probability: malignant, top, reliable,
    warnings: warnings.map(({ text }) => text), warning_codes: warnings.map(({ code }) => code),
    operating_point: side(model, malignant), model: model.name, timings_ms,
  };
}

function malignantProbability(probabilities, labels) {
  if (labels.some(({ malignant }) => malignant === null)) return null;
  const sum = labels.reduce((total, { malignant }, i) => total + (malignant ? probabilities[i] : 0), 0);
  return Math.min(sum, 1);
}

function side({ point, source }, malignant) {
  if (!point || malignant === null) return null;
  return {
    sensitivity: point.sensitivity, specificity: point.measured_specificity, threshold: point.threshold,
    above: malignant >= point.threshold, source,
  };
}

/** Return the classes as the bars of result.js take them. */
export function bars(found, labels) {
  const kinds = new Map(labels.map(({ label, malignant }) => [label, malignant]));
  return found.top.map(({ label, name, probability }) => (
    { label: name, prob: probability, code: label, malignant: kinds.get(label) }
  ));
}
