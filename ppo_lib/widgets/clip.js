// 裁剪目标：min(r·A, clip(r, 1−ε, 1+ε)·A)，要被最大化。

function clippedRatio(ratio, eps) {
  return Math.min(Math.max(ratio, 1 - eps), 1 + eps);
}

export function clippedObjective(ratio, advantage, eps) {
  return Math.min(ratio * advantage, clippedRatio(ratio, eps) * advantage);
}

// 越过了优势指向的那一侧的界：裁剪起作用，梯度为 0。恰在界上算没有越过。
export function isClipped(ratio, advantage, eps) {
  if (advantage > 0) return ratio - (1 + eps) > 1e-9;
  return advantage < 0 && 1 - eps - ratio > 1e-9;
}

// 裁剪目标对 r 的导数。
export function slope(ratio, advantage, eps) {
  return isClipped(ratio, advantage, eps) ? 0 : advantage;
}

function describe(ratio, advantage, eps) {
  const at = `r = ${num(ratio)}，A = ${num(advantage)}，ε = ${num(eps)}：`;
  if (advantage === 0) return `${at}优势是 0，目标恒为 0，梯度为 0。`;
  const up = advantage > 0;
  const bound = up ? `1 + ε = ${num(1 + eps)}` : `1 − ε = ${num(1 - eps)}`;
  const verb = up ? "提高" : "降低";
  if (isClipped(ratio, advantage, eps)) {
    const value = num(clippedObjective(ratio, advantage, eps));
    return `${at}A ${up ? "> 0" : "< 0"}，r 越过了 ${bound}，裁剪起作用。` +
      `目标停在 ${value}，梯度为 0：再${verb}这个动作的概率，没有好处。`;
  }
  const outside = up ? ratio < 1 - eps - 1e-9 : ratio > 1 + eps + 1e-9;
  const where = outside
    ? `r 在 [${num(1 - eps)}, ${num(1 + eps)}] 之外，却是优势不指向的一侧，不裁剪`
    : `r 没有越过 ${bound}，不裁剪`;
  return `${at}A ${up ? "> 0" : "< 0"}，${where}。` +
    `梯度是 A = ${num(advantage)}，不为 0：${verb}这个动作的概率还有好处。`;
}

// 四种情形的表，此刻的一格标出来。
function addCases(root) {
  const table = add(add(root, "div", { className: "table cases" }), "table");
  const head = add(add(table, "thead"), "tr");
  for (const text of ["优势", "没有越界，梯度 = A", "越过了界，梯度 = 0"]) {
    add(head, "th", { textContent: text }, { scope: "col" });
  }
  const body = add(table, "tbody");
  const cells = [["A > 0", "r ≤ 1 + ε", "r > 1 + ε"], ["A < 0", "r ≥ 1 − ε", "r < 1 − ε"]].map(
    ([name, ...texts]) => {
      const row = add(body, "tr");
      add(row, "th", { textContent: name }, { scope: "row" });
      return texts.map((text) => [add(row, "td"), text]);
    });
  return (advantage, clipped) => cells.forEach((row, i) => row.forEach(([cell, text], j) => {
    const here = advantage !== 0 && (advantage > 0 ? 0 : 1) === i && Number(clipped) === j;
    cell.textContent = here ? `● ${text}` : text;
    cell.className = here ? "here" : "";
    if (here) cell.setAttribute("aria-current", "true");
    else cell.removeAttribute("aria-current");
  }));
}

const FREE = { stroke: ORANGE, "stroke-width": 1.8, "stroke-dasharray": "7 4" };
const CUT = { stroke: GREEN, "stroke-width": 2.2, "stroke-dasharray": "2 4" };
const MIN = { stroke: BLUE, "stroke-width": 5, "stroke-opacity": 0.75 };

function render({ model, el }) {
  const root = makeRoot(el, "裁剪目标", "横轴是概率比。三条线是同一个优势下的三种目标，梯度是蓝线在圆点处的斜率。");
  const controls = add(root, "div", { className: "controls" });
  const set = {
    ratio: addSlider(controls, { label: "概率比 r", min: 0, max: 2, step: 0.01, onInput: setter(model, "ratio") }),
    advantage: addSlider(controls, { label: "优势 A", min: -2, max: 2, step: 0.1, onInput: setter(model, "advantage") }),
    clip_eps: addSlider(controls, { label: "裁剪范围 ε", min: 0.05, max: 0.5, step: 0.01, onInput: setter(model, "clip_eps") }),
  };
  const draw = addChart(root, { label: "裁剪目标随概率比的变化", height: 290, paint });
  addLegend(root, [
    [MIN, "两者的较小者：PPO 的目标"], [FREE, "不裁剪：r·A"], [CUT, "裁剪：clip(r)·A"],
    [{ fill: "currentColor", "fill-opacity": 0.1 }, "1 − ε 到 1 + ε"],
  ]);
  const sentence = addSentence(root);
  const mark = addCases(root);
  const now = () => ["ratio", "advantage", "clip_eps"].map((name) => model.get(name));

  function paint(svg, width, height) {
    const [ratio, advantage, eps] = now();
    const y = advantage < 0 ? [-4.2, 0.5] : [-0.5, 4.2];
    const scale = addAxes(svg, width, height, { x: [0, 2], y, xLabel: "概率比 r", yLabel: "目标" });
    const { X, Y } = scale;
    addSvg(svg, "rect", { x: X(1 - eps), y: Y(y[1]), width: X(1 + eps) - X(1 - eps),
      height: Y(y[0]) - Y(y[1]), fill: "currentColor", "fill-opacity": 0.07 });
    const corners = [0, 1 - eps, 1 + eps, 2];
    const curve = (f) => corners.map((r) => [r, f(r)]);
    addLine(svg, scale, curve((r) => clippedObjective(r, advantage, eps)), MIN);
    addLine(svg, scale, curve((r) => r * advantage), FREE);
    addLine(svg, scale, curve((r) => clippedRatio(r, eps) * advantage), CUT);
    const toLeft = advantage < 0 ? ratio > 0.5 : ratio > 1.4; // 文字放在没有线的一侧
    const value = clippedObjective(ratio, advantage, eps);
    paintPoint(svg, scale, ratio, value, slope(ratio, advantage, eps), toLeft);
  }

  // 此刻的点，和一小段切线。
  function paintPoint(svg, scale, ratio, value, gradient, toLeft) {
    const { X, Y } = scale;
    const half = 0.25;
    addLine(svg, scale, [-half, half].map((d) => [ratio + d, value + gradient * d]),
      { stroke: "currentColor", "stroke-width": 1.5 });
    addSvg(svg, "circle", { cx: X(ratio), cy: Y(value), r: 6, fill: "currentColor" });
    addSvg(svg, "text", { x: X(ratio) + (toLeft ? -10 : 10), y: Y(value) + 22,
      "text-anchor": toLeft ? "end" : "start", class: "tag" }, `梯度 ${num(gradient)}`);
  }

  return follow(model, Object.keys(set), () => {
    const [ratio, advantage, eps] = now();
    for (const name of Object.keys(set)) set[name](model.get(name));
    draw();
    mark(advantage, isClipped(ratio, advantage, eps));
    say(sentence, describe(ratio, advantage, eps));
  });
}

export default { render };
