// Logits become findings, as findings/interpret.py makes them.

export function probabilities(logits, { activation, calibration, labels }) {
  const scaled = Array.from(logits, (logit, at) => {
    if (activation === "softmax" && !labels[at].trained) return -Infinity;
    const tempered = logit / calibration.temperature;
    return calibration.method === "platt" ? tempered * calibration.scales[at] + calibration.offsets[at] : tempered;
  });
  if (activation === "sigmoid") return scaled.map((one) => 1 / (1 + Math.exp(-one)));
  const highest = Math.max(...scaled);
  const powers = scaled.map((one) => Math.exp(one - highest));
  const sum = powers.reduce((total, one) => total + one, 0);
  return powers.map((one) => one / sum);
}

// What /v1/predict answers for one model, from what its network gave.
export function resultOf(model, point, { logits, cam, camShape }) {
  const [, , height, width] = camShape;
  const scores = probabilities(logits, model);
  const chosen = point in model.operating_points ? point : model.default_operating_point;
  const thresholds = model.operating_points[chosen] ?? {};
  const findings = model.labels.map(({ name, code, trained }, at) => {
    const cells = cam.subarray(at * height * width, (at + 1) * height * width);
    const mean = cells.reduce((sum, one) => sum + one, 0) / cells.length;
    const grid = Array.from({ length: height }, (_, row) => Array.from(cells.subarray(row * width, (row + 1) * width)));
    const probability = trained ? Math.round(scores[at] * 1e6) / 1e6 : null;
    const threshold = thresholds[name] ?? null;
    const positive = probability === null || threshold === null ? null : probability >= threshold;
    return { label: name, probability, threshold, positive, code, boxes: null, heat_map: { height, width, bias: logits[at] - mean, grid } };
  });
  const used = { name: model.name, version: model.version, digest: model.digest, engine: `onnxruntime-web-wasm-${model.graph.precision}`, preprocessing: model.preprocessing };
  const cautions = model.age_bands.length ? [{ code: "age_unknown", detail: `this model was trained on patients of ${model.age_bands.join(" and ")} years` }] : [];
  return { model: used, operating_point: chosen, augment: null, findings, segmentation: null, boxes_within: null, cautions };
}
