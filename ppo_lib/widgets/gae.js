// 广义优势估计：从后往前 Â_t = δ_t + γλ·Â_{t+1}，遇到回合的结尾就断开。

// endings: 每一步之后是 "continue"、"terminated" 还是 "truncated"。
export function gae(reward, value, lastValue, endings, gamma, lambda) {
  const nextValue = [...value.slice(1), lastValue];
  const delta = reward.map((r, t) =>
    r + gamma * nextValue[t] * (endings[t] === "terminated" ? 0 : 1) - value[t]);
  const advantage = [];
  for (let t = reward.length - 1, next = 0; t >= 0; t--) {
    next = delta[t] + (endings[t] === "continue" ? gamma * lambda * next : 0);
    advantage[t] = next;
  }
  return { nextValue, delta, advantage, target: advantage.map((a, t) => a + value[t]) };
}

// 第 start 步（从 0 数）的优势里，各步的 δ 占多少：(γλ)^k；断开之后和之前的是 0。
export function weights(endings, start, gamma, lambda) {
  let weight = 1;
  return endings.map((_, t) => {
    if (t < start) return 0;
    const now = weight;
    weight = endings[t] === "continue" ? weight * gamma * lambda : 0;
    return now;
  });
}

const ENDINGS = [["continue", "继续"], ["terminated", "终止"], ["truncated", "截断"]];
const NAMES = Object.fromEntries(ENDINGS);
const FIELDS = ["reward", "value", "last_value", "gamma", "gae_lambda", "ending_step_3", "ending_last", "step"];

function endingWords(kind, step, value) {
  if (kind === "terminated") return `第 ${step} 步之后终止：以后没有奖励，不接 V(s′)`;
  if (kind === "truncated") return `第 ${step} 步之后截断：仍接上 V(s′) = ${num(value)}，但优势到此断开`;
  return step === 5 ? `第 5 步之后还在继续：这一段到此为止，用 V(s′) = ${num(value)} 接上` : "";
}

// 写成一个可以手算的式子：Â₁ = 0.90 + 0.94 × 0.19 + …
function describe(t, result, weight, endings) {
  const terms = weight.map((w, i) => [w, result.delta[i], i])
    .filter(([w, , i]) => i === t || w > 0)
    .map(([w, delta, i]) => {
      const factor = delta < 0 ? `(${num(delta, 3)})` : num(delta, 3);
      return i === t ? num(delta, 3) : `${num(w, 3)} × ${factor}`;
    });
  const sum = terms.length > 1 ? `${terms.join(" + ")} = ` : "";
  const ends = [[endings[2], 3, result.nextValue[2]], [endings[4], 5, result.nextValue[4]]]
    .map((end) => endingWords(...end)).filter(Boolean);
  return `第 ${t + 1} 步的优势 = ${sum}${num(result.advantage[t], 3)}，` +
    `目标 = 优势 + V = ${num(result.target[t], 3)}。${ends.join("；")}。`;
}

function render({ model, el }) {
  const root = makeRoot(el, "广义优势估计（GAE）", "一段五步的经验，奖励和价值固定。改变 γ、λ 和结尾，看每一步的优势。");
  const controls = add(root, "div", { className: "controls" });
  const slide = (name, label, max, step, low = 0, format = num) =>
    addSlider(controls, { label, min: low, max, step, format, onInput: setter(model, name) });
  const choose = (name, label) =>
    addRadios(controls, { label, options: ENDINGS, onInput: setter(model, name) });
  const set = {
    gamma: slide("gamma", "折扣因子 γ", 1, 0.01),
    gae_lambda: slide("gae_lambda", "GAE 的 λ", 1, 0.01),
    ending_step_3: choose("ending_step_3", "第 3 步之后"),
    ending_last: choose("ending_last", "第 5 步之后"),
    step: slide("step", "细看哪一步", 5, 1, 1, (t) => `第 ${t} 步`),
  };
  let result, weight, endings;

  const drawSteps = addChart(root, { label: "每一步的时序差分误差、优势和目标", height: 230, paint: paintSteps });
  addLegend(root, [
    [{ fill: ORANGE }, "时序差分误差 δ"], [{ fill: BLUE }, "优势 Â"],
    [{ stroke: GREEN, "stroke-width": 4 }, "目标 Â + V"],
  ]);
  const drawWeights = addChart(root, { label: "各步的 δ 在这一步优势里的权重", height: 170, paint: paintWeights });
  const sentence = addSentence(root);
  const fill = addTable(root, "每一步的数", ["步", "奖励", "V(s)", "V(s′)", "δ", "权重", "优势", "目标"]);

  const stepNames = { xTicks: [1, 2, 3, 4, 5], x: [0.5, 5.5] };

  function addBar(svg, { X, Y }, at, wide, value, color) {
    const [top, bottom] = [Y(Math.max(0, value)), Y(Math.min(0, value))];
    addSvg(svg, "rect", { x: X(at), y: top, width: X(at + wide) - X(at), height: bottom - top, fill: color });
  }

  // 回合断开的地方画一道竖线，写上是哪一种。
  function paintEndings(svg, { X, Y }, y) {
    for (const [i, at] of [[2, 3.5], [4, 5.5]]) {
      if (endings[i] === "continue") continue;
      addSvg(svg, "line", { x1: X(at), x2: X(at), y1: Y(y[0]), y2: Y(y[1]), stroke: "currentColor",
        "stroke-width": 1.5, "stroke-dasharray": "4 3" });
      addSvg(svg, "text", { x: X(at) - 4, y: Y(y[1]) - 4, "text-anchor": "end" }, NAMES[endings[i]]);
    }
  }

  function paintSteps(svg, width, height) {
    const all = [...result.delta, ...result.advantage, ...result.target];
    const y = [Math.min(-2, ...all) - 0.1, Math.max(3, ...all) + 0.1];
    const scale = addAxes(svg, width, height, { ...stepNames, y, xLabel: "步", yLabel: "δ、优势、目标" });
    addSvg(svg, "rect", { x: scale.X(model.get("step") - 0.45), y: scale.Y(y[1]), fill: "currentColor",
      "fill-opacity": 0.07, width: scale.X(1.4) - scale.X(0.5), height: scale.Y(y[0]) - scale.Y(y[1]) });
    paintEndings(svg, scale, y);
    result.delta.forEach((delta, t) => {
      addBar(svg, scale, t + 0.68, 0.3, delta, ORANGE);
      addBar(svg, scale, t + 1.02, 0.3, result.advantage[t], BLUE);
      addLine(svg, scale, [[t + 0.62, result.target[t]], [t + 1.38, result.target[t]]],
        { stroke: GREEN, "stroke-width": 4 });
    });
  }

  function paintWeights(svg, width, height) {
    const start = model.get("step") - 1;
    const scale = addAxes(svg, width, height, { ...stepNames, y: [0, 1.15], yTicks: [0, 0.5, 1],
      xFormat: (t) => `δ${"₁₂₃₄₅"[t - 1]}`, xLabel: "各步的 δ",
      yLabel: `第 ${start + 1} 步的优势里，各步 δ 的权重 (γλ)^k` });
    weight.forEach((w, t) => {
      addBar(svg, scale, t + 0.75, 0.5, w, BLUE);
      const cut = t > start && endings.slice(start, t).some((kind) => kind !== "continue");
      const text = t < start ? "已过去" : cut ? "断开" : num(w, 3);
      addSvg(svg, "text", { x: scale.X(t + 1), y: scale.Y(w) - 4, "text-anchor": "middle" }, text);
    });
  }

  return follow(model, FIELDS, () => {
    for (const name of Object.keys(set)) set[name](model.get(name));
    const get = (name) => model.get(name);
    const t = get("step") - 1;
    endings = ["continue", "continue", get("ending_step_3"), "continue", get("ending_last")];
    result = gae(get("reward"), get("value"), get("last_value"), endings, get("gamma"), get("gae_lambda"));
    weight = weights(endings, t, get("gamma"), get("gae_lambda"));
    drawSteps();
    drawWeights();
    say(sentence, describe(t, result, weight, endings));
    fill(get("reward").map((r, i) => [
      String(i + 1), short(r), short(get("value")[i]),
      endings[i] === "terminated" ? "不接" : short(result.nextValue[i]),
      num(result.delta[i], 3), num(weight[i], 3), num(result.advantage[i], 3), num(result.target[i], 3),
    ]), t);
  });
}

export default { render };
