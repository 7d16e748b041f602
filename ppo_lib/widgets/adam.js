// Adam：一串梯度的一阶矩、二阶矩、偏差修正、步长，和碗形曲面上的路。

const STEPS = 60;
const TURN = 30; // 第几步转向
const EVERY = 6; // 稀疏时几步才有一次梯度
const CURVATURE = [1, 8]; // 碗在两个方向上的曲率
const START = [-2.4, 1.2];
const MOVED = [1.2, -0.6]; // 转向之后碗底搬到哪里
const SPREAD = 1.5; // 噪声的标准差

// 一个数的一步，t 从 1 数起。
export function adamStep(param, grad, m, v, t, { lr, beta1, beta2, eps = 1e-8 }) {
  const newM = beta1 * m + (1 - beta1) * grad;
  const newV = beta2 * v + (1 - beta2) * grad ** 2;
  const mHat = newM / (1 - beta1 ** t);
  const vHat = newV / (1 - beta2 ** t);
  const change = (-lr * mHat) / (Math.sqrt(vHat) + eps);
  return { param: param + change, m: newM, v: newV, mHat, vHat, change, grad };
}

// 一串梯度走过 Adam；每一步一行。
export function adamTrace(gradients, options) {
  let row = { param: 0, m: 0, v: 0 };
  return gradients.map((grad, i) => (row = adamStep(row.param, grad, row.m, row.v, i + 1, options)));
}

export function gradientStream(kind, noise) {
  return noise.map(([z], i) => {
    if (kind === "noisy") return 1 + SPREAD * z;
    if (kind === "turn") return i + 1 < TURN ? 1 : -1;
    if (kind === "sparse") return i % EVERY === 0 ? 1 : 0;
    return 1;
  });
}

// 碗底在哪里：转向时，第 30 步起搬家。
function bottom(kind, t) {
  return kind === "turn" && t >= TURN ? MOVED : [0, 0];
}

// 碗上的路，61 个点 [x, y]；每个坐标各走各的 Adam。梯度带着与上面同一种毛病。
export function bowlPath(kind, noise, options) {
  let axes = START.map((param) => ({ param, m: 0, v: 0 }));
  const path = [START];
  noise.forEach((pair, i) => {
    axes = axes.map((a, j) => {
      let grad = CURVATURE[j] * (a.param - bottom(kind, i + 1)[j]);
      if (kind === "noisy") grad += SPREAD * pair[j];
      if (kind === "sparse" && i % EVERY) grad = 0;
      return adamStep(a.param, grad, a.m, a.v, i + 1, options);
    });
    path.push(axes.map((a) => a.param));
  });
  return path;
}

const STREAMS = [["constant", "恒定"], ["noisy", "带噪声"], ["turn", "第 30 步转向"], ["sparse", "稀疏"]];
const RATES = [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5];
const BETA_2 = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999];
const FIELDS = ["beta_1", "beta_2", "lr", "stream", "step", "noise"];

const GRAD = { stroke: "currentColor", "stroke-width": 1, "stroke-opacity": 0.6 };
const RAW = { stroke: ORANGE, "stroke-width": 1.8, "stroke-dasharray": "6 3" };
const FIXED = { stroke: BLUE, "stroke-width": 2.2 };

function describe(t, row, lr, distance) {
  const times = num(Math.abs(row.change) / lr);
  return `第 ${t} 步：梯度 ${num(row.grad, 3)}；一阶矩 ${num(row.m, 3)}，修正后 ${num(row.mHat, 3)}；` +
    `二阶矩 ${num(row.v, 4)}，修正后 ${num(row.vHat, 3)}；参数改变 ${num(row.change, 4)}，` +
    `大小是学习率的 ${times} 倍。碗里走完 ${STEPS} 步，离碗底 ${num(distance)}。`;
}

function render({ model, el }) {
  const root = makeRoot(el, "Adam 的一步一步", "选一串梯度，看 Adam 怎样把它变成步子；“碗里的路”是同一种梯度在碗形曲面上走的。");
  const controls = add(root, "div", { className: "controls" });
  const slide = (name, label, options) => addSlider(controls, { label, onInput: setter(model, name), ...options });
  const set = {
    stream: addRadios(controls, { label: "梯度", options: STREAMS, onInput: setter(model, "stream") }),
    beta_1: slide("beta_1", "一阶矩的 β₁", { min: 0, max: 0.99, step: 0.01 }),
    beta_2: slide("beta_2", "二阶矩的 β₂", { values: BETA_2, format: short }),
    lr: slide("lr", "学习率 lr", { values: RATES, format: short }),
    step: slide("step", "细看哪一步", { min: 1, max: STEPS, step: 1, format: (t) => `第 ${t} 步` }),
  };
  let trace, path;
  const grid = add(root, "div", { className: "charts" });
  const series = (label, yLabel, lines, cover) => addChart(grid, { label, height: 190,
    paint: (svg, width, height) => paintSeries(svg, width, height, yLabel, lines(), cover?.()) });
  const draws = [
    series("梯度和一阶矩", "梯度、一阶矩 m",
      () => [[(row) => row.grad, GRAD], [(row) => row.m, RAW], [(row) => row.mHat, FIXED]]),
    series("二阶矩", "二阶矩 v", () => [[(row) => row.v, RAW], [(row) => row.vHat, FIXED]]),
    series("每一步参数的改变", "参数的改变（横线是 ±学习率）", () => [[(row) => row.change, FIXED]],
      () => [-model.get("lr"), model.get("lr")]),
    addChart(grid, { label: "碗形曲面上的路", height: 190, paint: paintBowl }),
  ];
  addLegend(root, [
    [GRAD, "梯度 g"], [RAW, "矩，修正前"], [FIXED, "矩，修正后；参数的改变"],
    [{ fill: BLUE }, "碗里的路，空心是起点"],
  ]);
  const sentence = addSentence(root);

  function paintSeries(svg, width, height, yLabel, lines, marks = []) {
    const all = [0, ...marks, ...lines.flatMap(([get]) => trace.map(get))];
    const pad = 0.06 * (Math.max(...all) - Math.min(...all) || 1);
    const y = [Math.min(...all) - pad, Math.max(...all) + pad];
    const scale = addAxes(svg, width, height, { x: [0, STEPS], y, xTicks: [1, 15, 30, 45, 60], xLabel: "步", yLabel });
    for (const mark of marks) {
      addLine(svg, scale, [[0, mark], [STEPS, mark]], { ...GRAD, "stroke-dasharray": "3 3" });
    }
    const t = model.get("step");
    addLine(svg, scale, [[t, y[0]], [t, y[1]]], { stroke: "currentColor", "stroke-opacity": 0.35 });
    for (const [get, style] of lines) {
      addLine(svg, scale, trace.map((row, i) => [i + 1, get(row)]), style);
      if (style !== GRAD) {
        addSvg(svg, "circle", { cx: scale.X(t), cy: scale.Y(get(trace[t - 1])), r: 3.5, fill: style.stroke });
      }
    }
  }

  function paintBowl(svg, width, height) {
    const kind = model.get("stream");
    const scale = addAxes(svg, width, height, { x: [-3, 3], y: [-1.8, 1.8], xLabel: "参数 1", yLabel: "碗里的路（竖轴是参数 2）" });
    const { X, Y } = scale;
    const id = freshId();
    const clip = addSvg(addSvg(svg, "defs"), "clipPath", { id });
    addSvg(clip, "rect", { x: X(-3), y: Y(1.8), width: X(3) - X(-3), height: Y(-1.8) - Y(1.8) });
    const inside = addSvg(svg, "g", { "clip-path": `url(#${id})` });
    const [cx, cy] = bottom(kind, STEPS);
    for (const level of [0.1, 0.5, 1.5, 3, 5, 8]) {
      const [rx, ry] = CURVATURE.map((c) => Math.sqrt((2 * level) / c));
      addSvg(inside, "ellipse", { cx: X(cx), cy: Y(cy), rx: X(rx) - X(0), ry: Y(0) - Y(ry),
        fill: "none", stroke: "currentColor", "stroke-opacity": 0.22 });
    }
    addLine(inside, scale, path, FIXED);
    path.forEach(([x, y], i) => addSvg(inside, "circle", { cx: X(x), cy: Y(y),
      r: i === 0 ? 5 : 2, fill: i ? BLUE : "none", stroke: BLUE, "stroke-width": i ? 0 : 2 }));
    const here = path[model.get("step")];
    addSvg(inside, "circle", { cx: X(here[0]), cy: Y(here[1]), r: 5, fill: ORANGE });
    addSvg(inside, "path", { d: `M${X(cx) - 5} ${Y(cy)}h10M${X(cx)} ${Y(cy) - 5}v10`, stroke: "currentColor", "stroke-width": 1.5 });
  }

  return follow(model, FIELDS, () => {
    for (const name of Object.keys(set)) set[name](model.get(name));
    const options = { lr: model.get("lr"), beta1: model.get("beta_1"), beta2: model.get("beta_2") };
    const [kind, noise, t] = [model.get("stream"), model.get("noise"), model.get("step")];
    trace = adamTrace(gradientStream(kind, noise), options);
    path = bowlPath(kind, noise, options);
    const end = path[path.length - 1].map((x, j) => x - bottom(kind, STEPS)[j]);
    for (const draw of draws) draw();
    say(sentence, describe(t, trace[t - 1], options.lr, Math.hypot(...end)));
  });
}

export default { render };
