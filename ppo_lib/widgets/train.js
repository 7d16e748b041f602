// 训练场：几个 Worker 里真的训练，这里只管控件和图。engine/pool.js 写在这一段的前面。

const LABELS = {
  lr: "学习率 lr", beta_1: "β₁", critic_beta_1: "Critic 的 β₁", clip_eps: "裁剪范围 ε", ent_coef: "熵的系数",
  gamma: "折扣因子 γ", gae_lambda: "GAE 的 λ", update_epochs: "每批学几遍", activation: "激活函数", env_name: "环境",
};

const ENVS = { // 难在哪里；图里回报的范围；多少算学会；换到这个环境时训练多少步
  "CartPole-v1": { name: "CartPole", task: "杆子要靠推小车才立得住", low: 0, high: 500, solved: 475, steps: 200_000 },
  "MountainCar-v0": { name: "MountainCar", task: "小车劲不够，要来回荡几次才上得了山", low: -200, high: -90, solved: -130, steps: 1_000_000 },
  "Acrobot-v1": { name: "Acrobot", task: "只有中间的关节有劲，要把下端荡过虚线", low: -500, high: -60, solved: -100, steps: 300_000 },
};

const PANELS = [
  ["entropy", "熵"], ["approx_kl", "近似 KL"], ["clip_frac", "裁剪比例"], ["explained_variance", "解释方差"],
  ["mu_norm", "一阶矩的范数"], ["nu_norm", "二阶矩的范数"], ["cosine_similarity", "与上一个梯度的余弦"],
];

const LIVE_KEYS = ["lr", "beta_1", "critic_beta_1", "clip_eps", "ent_coef", "gamma", "gae_lambda"]; // 训练途中改了马上生效

const NOW_BAND = { fill: BLUE, "fill-opacity": 0.22 };
const NOW = { stroke: BLUE, "stroke-width": 2.6 };
const NOW_THIN = { class: "thin", stroke: BLUE, "stroke-width": 0.8 };
const EARLIER = { stroke: "currentColor", "stroke-width": 1.2, "stroke-opacity": 0.3 };
const PINNED = [ORANGE, GREEN, COLORS[3]].map((stroke) => ({ stroke, "stroke-width": 2, "stroke-dasharray": "7 3" }));

const KEPT = 6; // 没有钉住的旧曲线留几条
const REDRAW = 120; // 毫秒
const STEPS_PER_SECOND = 30; // 演示的快慢
const PLANE = 24;
const SLOW = 150; // 慢动作里两步梯度下降之间等多少毫秒

// ---- 一次训练的记录：{config, seeds, curves: {指标: [每个种子一列]}, began、seconds 是何时开始、练了几秒}

function newRun(config, seeds) {
  return { config, seeds, curves: {}, ended: 0, diverged: "", began: performance.now() };
}

function record(run, { seed, update, metrics }) {
  const place = run.seeds.indexOf(seed);
  for (const name of ["return", ...PANELS.map(([key]) => key)]) {
    run.curves[name] ??= run.seeds.map(() => []);
    run.curves[name][place][update - 1] = metrics[name];
  }
}

const updatesOf = (config) => Math.floor(config.total_timesteps / batchSize(config));

// 每个种子到了第几次更新里最少的那个
function updatesDone(run) {
  return Math.min(...(run.curves.return ?? [[]]).map((row) => row.length));
}

// 各次更新时各种子的四分位均值，[[步数, 值], …]；只到大家都走到的地方
export function middleLine(run, name) {
  const rows = (run.curves[name] ?? []).map(forwardFill);
  const points = [];
  for (let i = 0; i < updatesDone(run); i++) {
    const values = rows.map((row) => row[i]);
    if (values.every(Number.isFinite)) points.push([(i + 1) * batchSize(run.config), iqm(values)]);
  }
  return points;
}

// 两份配置不同在哪里；全都相同时是空的
export function difference(config, base) {
  return Object.keys(LABELS).filter((key) => config[key] !== base[key])
    .map((key) => `${LABELS[key]} = ${write(key, config[key])}`).join("，");
}

function write(key, value) {
  if (value === null) return "同 β₁";
  if (typeof value === "string") return ENVS[value]?.name ?? value;
  return short(value);
}

// ---- 链接：地址的 # 后面写着全部的键和种子，打开就是同样的设置，再训练一次，曲线逐位相同

const MARK = "#train?";

export function linkOf(address, config, seeds, home) {
  const written = Object.entries({ ...config, seeds, home })
    .map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]);
  return `${address.split("#")[0]}${MARK}${new URLSearchParams(written)}`;
}

// home 是这个训练场一开始的环境：一页上有两个训练场时，认得出是写给谁的。
// 返回 {config, seeds}；没有写、写给别的训练场，是 null；看不懂就抛出错误。这里只管类型，范围由引擎查（checkConfig）。
export function readLink(hash, config, seedsNow, here) {
  if (!hash.startsWith(MARK)) return null;
  const parse = (text) => {
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  };
  const found = Object.fromEntries([...new URLSearchParams(hash.slice(MARK.length))].map(([key, text]) => [key, parse(text)]));
  const { seeds, home = here, ...values } = { ...config, seeds: seedsNow, ...found };
  if (home !== here) return null;
  const kind = (x) => (Array.isArray(x) ? "array" : x === null ? "number" : typeof x);
  for (const [key, value] of Object.entries(values)) {
    const fits = key in config && kind(value) === kind(config[key]);
    if (!fits || (key === "env_name" && !(value in ENVS))) throw new Error(`${key} = ${JSON.stringify(value)}`);
  }
  const good = kind(seeds) === "array" && seeds.length > 0 && seeds.length <= 20 && seeds.every((x) => Number.isInteger(x) && x >= 0);
  if (!good) throw new Error(`seeds = ${JSON.stringify(seeds)}`);
  return { config: values, seeds };
}

// 没有内核的页面上，地址才是我们的
const ownsAddress = () => Boolean(document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]'));

// ---- 画智能体。state 是环境的状态，见 engine/envs.c

function paintAgent(svg, width, height, env, state) {
  const written = (points) => points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  const line = (points, attributes) => addSvg(svg, "polyline",
    { points: written(points), fill: "none", "stroke-linecap": "round", ...attributes });
  const ink = { stroke: "currentColor", "stroke-opacity": 0.6, "stroke-width": 2 };
  const thick = (stroke, size) => ({ stroke, "stroke-width": size });
  if (env === "CartPole-v1") {
    const scale = width / 5.6;
    const x = width / 2 + state[0] * scale;
    const y = height - 26;
    const pole = Math.min(scale, height - 50);
    line([[8, y + 10], [width - 8, y + 10]], ink);
    addSvg(svg, "rect", { x: x - 20, y: y - 6, width: 40, height: 14, rx: 3, fill: BLUE });
    line([[x, y - 6], [x + pole * Math.sin(state[2]), y - 6 - pole * Math.cos(state[2])]], thick(ORANGE, 6));
  } else if (env === "MountainCar-v0") {
    const X = (p) => ((p + 1.3) / 2) * width;
    const Y = (p) => height - 14 - (0.45 * Math.sin(3 * p) + 0.45) * (height - 50);
    line(Array.from({ length: 61 }, (_, i) => -1.2 + 0.03 * i).map((p) => [X(p), Y(p)]), ink);
    line([[X(0.5), Y(0.5)], [X(0.5), Y(0.5) - 22], [X(0.5) + 12, Y(0.5) - 17], [X(0.5), Y(0.5) - 12]], thick(GREEN, 2));
    addSvg(svg, "circle", { cx: X(state[0]), cy: Y(state[0]) - 8, r: 8, fill: BLUE });
  } else {
    const scale = Math.min(width, height - 16) / 4.4;
    const middle = height / 2 + 4;
    const [a, b] = [state[0], state[0] + state[1]];
    const elbow = [width / 2 + scale * Math.sin(a), middle + scale * Math.cos(a)];
    const goal = [-2.2, 2.2].map((x) => [width / 2 + x * scale, middle - scale]);
    line(goal, { ...ink, "stroke-dasharray": "4 4" });
    line([[width / 2, middle], elbow], thick(BLUE, 7));
    line([elbow, [elbow[0] + scale * Math.sin(b), elbow[1] + scale * Math.cos(b)]], thick(ORANGE, 6));
  }
}

// V 的平面：一格一个像素，浅的高。颜色至少展开 5 分：差不到 1 分的平地，看着就是平地
export function paintPlane(canvas, plane) {
  const values = plane.flat();
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const pen = canvas.getContext("2d");
  plane.forEach((row, i) => row.forEach((value, j) => {
    const t = 0.5 + (value - (low + high) / 2) / Math.max(high - low, 5);
    pen.fillStyle = `hsl(${220 - 170 * t} 70% ${22 + 58 * t}%)`;
    pen.fillRect(j, plane.length - 1 - i, 1, 1);
  }));
  return [low, high];
}

// ---- 小组件

function render({ model, el }) {
  const compact = model.get("compact");
  const root = makeRoot(el, compact ? "按一下，看它学会" : "训练场",
    compact ? "" : "这里真的在训练 PPO，就在这个网页里。拨好滑块，按“训练”。");
  const reduced = matchMedia("(prefers-reduced-motion: reduce)");
  const config = () => model.get("config");
  const caption = compact && add(root, "p", { className: "help" });
  const home = { ...config() }; // 这一页原来的设置
  const changeAll = (values) => setter(model, "config")({ ...config(), ...values });
  const change = (key, value) => changeAll({ [key]: value });

  // ---- 摆法：小的一种先看智能体和曲线，别的都折起来

  const main = add(root, "div");
  const folded = compact ? add(root, "details") : main;
  if (compact) {
    root.classList.add("compact");
    add(folded, "summary", { textContent: "自己拨一拨" });
  }
  const place = {};
  const places = compact
    ? [["stage", "buttons", "words", "chart"], ["controls", "others", "runs", "panels"]]
    : [[], ["controls", "buttons", "words", "chart", "runs", "stage", "panels"]];
  places.forEach((names, i) => names.forEach((name) => (place[name] = add(i ? folded : main, "div", { className: name }))));

  // ---- 控件

  const { controls } = place;
  const setEnv = addRadios(controls, { label: LABELS.env_name,
    options: Object.entries(ENVS).map(([key, { name }]) => [key, name]),
    onInput: (value) => changeAll({ env_name: value, total_timesteps: ENVS[value].steps }) });
  const setActivation = addRadios(controls, { label: LABELS.activation,
    options: [["relu", "relu"], ["tanh", "tanh"]], onInput: (value) => change("activation", value) });
  const set = {};
  const rowOf = {};
  for (const [key, values] of Object.entries(model.get("sliders"))) {
    const onInput = (value) => change(key, value);
    set[key] = addSlider(controls, { label: LABELS[key], values, format: short, onInput });
    rowOf[key] = controls.lastElementChild;
    if (key === "beta_1") addLock();
  }

  function addLock() {
    const label = add(controls, "label", { className: "lock" });
    const box = add(label, "input", { type: "checkbox" });
    label.append(" Critic 另用一个 β₁");
    box.addEventListener("change", () => change("critic_beta_1", box.checked ? config().beta_1 : null));
    set.lock = (value) => (box.checked = value !== null);
  }

  // ---- 按钮

  const { buttons, others = buttons } = place;
  others.classList.add("buttons");
  const button = (text, action, parent = others) => {
    const element = add(parent, "button", { type: "button", textContent: text });
    element.addEventListener("click", action);
    return element;
  };
  const trainButton = button("训练", toggle, buttons);
  trainButton.className = "main";
  const stepButton = button("一次更新", step);
  const slowButton = button("慢动作", () => setSlow(!slow));
  const restartButton = button("重来", reset);
  const pinButton = button("钉住这条", pin);
  button("换种子", freshSeeds);
  const linkButton = button("复制链接", copyLink);
  add(others, "p", { className: "help",
    textContent: "“一次更新”：收一批经验，学完就停。“慢动作”：每做一步梯度下降都停一停。" });
  const progress = add(place.words, "p", { className: "how-far" });
  const sentence = addSentence(place.words);

  // ---- 图

  const drawReturn = addChart(place.chart, { label: "回报随环境步数的变化", height: compact ? 170 : 260, paint: paintReturn });
  addLegend(compact ? place.others : place.chart, [[NOW, "四分位均值"], [NOW_BAND, "种子散开的范围"], [NOW_THIN, "各个种子"], [EARLIER, "先前的"]]);
  const runList = add(place.runs, "ul");
  const { stage, panels } = place;
  const drawAgent = addChart(stage, { label: "正在学的智能体", height: 150, paint: paintStage });
  const planeBox = add(stage, "div", { className: "plane" });
  const planeWords = add(planeBox, "div", { textContent: "V（位置 →，速度 ↑）" });
  const canvas = add(planeBox, "canvas", { width: PLANE, height: PLANE },
    { role: "img", "aria-label": "Critic 的 V 在位置和速度的平面上" });
  const drawPanels = PANELS.map(([key, label]) =>
    addChart(panels, { label: `${label}随环境步数的变化`, height: 130, paint: (...place) => paintPanel(key, label, ...place) }));

  // ---- 状态

  let run = null; // 正在训练的，或刚训练完的
  let earlier = []; // {config, …, pinned}
  let state = "idle"; // idle running paused done
  let slow = false;
  let failed = ""; // 出错时的话
  let frames = []; // 等着演的
  let frame = [0, 0, 0, 0];
  let asking = false;
  let drawn = 0;
  let touched = false; // 这次训练的途中动过滑块，链接里记不下
  const pool = createPool(() => loadEngine(model), receive);

  function receive(message) {
    if (message.kind === "rows") {
      for (const row of message.rows) record(run, row);
    } else if (message.kind === "done" || message.kind === "diverged") {
      run.ended += 1;
      if (message.kind === "diverged") run.diverged ||= `种子 ${message.seed}：${message.text}`;
      run.seconds = (performance.now() - run.began) / 1000;
      if (run.ended === run.seeds.length) finish();
    } else if (message.kind === "error") {
      failed = message.text;
      pool.close();
      finish();
    } else if (message.kind === "played") {
      asking = false;
      frames.push(...message.frames);
    } else if (message.kind === "inspected" && message.plane) {
      const [low, high] = paintPlane(canvas, message.plane);
      planeWords.textContent = `V（位置 →，速度 ↑）：${num(low, 1)} 到 ${num(high, 1)}`;
    }
  }

  function finish() {
    state = "done";
    frames = []; // 马上看学成的样子，不把先前要来的演完
    refresh();
  }

  function begin() {
    keepRun();
    run = newRun({ ...config() }, model.get("seeds"));
    [frames, asking, failed, touched] = [[], false, "", false];
    pool.start(run.config, run.seeds); // 先前的 Worker 都停下，不会再发来什么
    pool.pace(slow ? SLOW : 0);
  }

  // 画过的曲线留下来，淡淡的；没有钉住的只留最近几条
  function keepRun() {
    if (run && updatesDone(run) > 1) earlier.unshift(run);
    let loose = 0;
    earlier = earlier.filter((one) => one.pinned || ++loose <= KEPT);
    run = null;
  }

  function toggle() {
    if (state === "running") {
      pool.pause();
      state = "paused";
    } else {
      if (state === "paused") pool.resume();
      else begin();
      state = "running";
    }
    refresh();
  }

  function step() {
    if (state === "idle" || state === "done") begin();
    pool.step();
    state = "paused";
    refresh();
  }

  function setSlow(value) {
    slow = value;
    pool.pace(slow ? SLOW : 0);
    refresh();
  }

  function reset() {
    pool.close();
    keepRun();
    state = "idle";
    frame = [0, 0, 0, 0];
    refresh();
  }

  // 同样的种子再训练，得到一模一样的曲线；要新的证据，换没有用过的
  function freshSeeds() {
    const seeds = model.get("seeds");
    setter(model, "seeds")(seeds.map((seed) => seed + seeds.length));
    reset();
    say(sentence, `下一次训练用种子 ${model.get("seeds").join("、")}。`);
  }

  function pin() {
    run.pinned = !run.pinned;
    refresh();
  }

  // 链接也写进地址栏：不许用剪贴板的页面上，从那里复制
  async function copyLink() {
    const link = linkOf(location.href, config(), model.get("seeds"), home.env_name);
    history.replaceState(null, "", link);
    const copied = await navigator.clipboard?.writeText(link).then(() => true, () => false);
    const told = copied ? "链接复制好了：打开就是这些设置和种子，同一个浏览器里再训练，曲线逐位相同。"
      : "链接写在地址栏里了，从那里复制。";
    say(sentence, told + (touched ? "这条曲线训练的途中动过滑块，链接里只有最后的设置。" : ""));
  }

  function openLink() {
    try {
      const found = readLink(location.hash, config(), model.get("seeds"), home.env_name);
      if (!found) return;
      model.set("seeds", found.seeds);
      setter(model, "config")(found.config);
      folded.open = true;
      root.scrollIntoView({ block: "center" });
      say(sentence, "设置和种子都照链接里的，按“训练”。");
    } catch (error) {
      say(sentence, `链接里的 ${error.message} 看不懂，用的是这一页原来的设置。`);
    }
  }

  // ---- 画

  const pinned = () => [...earlier, run].filter((one) => one?.pinned && one.config.env_name === config().env_name);

  function paintReturn(svg, width, height) {
    const { low, high, solved } = ENVS[config().env_name];
    const shown = run?.config.env_name === config().env_name ? run : null;
    const old = earlier.filter((one) => one.config.env_name === config().env_name && !one.pinned);
    const drawnRuns = [shown, ...old, ...pinned()].filter(Boolean);
    const last = Math.max(config().total_timesteps, ...drawnRuns.map((one) => one.config.total_timesteps));
    const scale = addAxes(svg, width, height, { x: [0, last], y: [low, high], left: 52,
      xFormat: (x) => short(x / 1e4), xLabel: "环境步数（万步）", yLabel: "回报", yTicks: ticks(low, high, 5) });
    addSvg(svg, "line", { class: "axis", x1: scale.X(0), x2: scale.X(last), y1: scale.Y(solved), y2: scale.Y(solved), "stroke-dasharray": "2 4" });
    addSvg(svg, "text", { x: scale.X(0) + 6, y: scale.Y(solved) + 13 }, `${short(solved)}，算学会`);
    for (const one of old) addLine(svg, scale, middleLine(one, "return"), EARLIER);
    pinned().forEach((one, i) => addLine(svg, scale, middleLine(one, "return"), PINNED[i % PINNED.length]));
    if (!shown?.curves.return) return;
    const count = updatesDone(shown);
    const steps = Array.from({ length: count }, (_, i) => (i + 1) * batchSize(shown.config));
    const rows = shown.curves.return.map((row) => row.slice(0, count));
    paintSeeds(svg, scale, steps, rows, { band: NOW_BAND, thin: NOW_THIN, middle: NOW });
  }

  function paintPanel(key, label, svg, width, height) {
    const points = run ? middleLine(run, key) : [];
    const values = points.map(([, y]) => y);
    let [low, high] = values.length ? [Math.min(0, ...values), Math.max(...values)] : [0, 1];
    low = Math.max(low, -2); // 解释方差一开始可以低到 -100，画出来就看不见后面的了
    if (high - low < 1e-9) high = low + 1e-3;
    const last = run?.config.total_timesteps ?? config().total_timesteps;
    const scale = addAxes(svg, width, height, { x: [0, last], y: [low, high], left: 52, bottom: 22,
      xFormat: (x) => short(x / 1e4), xLabel: "", yLabel: label });
    addLine(svg, scale, points.map(([x, y]) => [x, Math.max(y, low)]), NOW);
  }

  function paintStage(svg, width, height) {
    paintAgent(svg, width, height, run?.config.env_name ?? config().env_name, frame);
  }

  function draw() {
    drawReturn();
    for (const one of drawPanels) one();
  }

  // 每一帧：演一步；隔一阵重画曲线，再向 Worker 要几步和 V
  let before = 0;
  let seen = true;
  let wanted = requestAnimationFrame(animate);
  function animate(now) {
    wanted = requestAnimationFrame(animate);
    const live = run && (state === "running" || state === "done") && !failed && seen;
    const pace = reduced.matches ? 2 : STEPS_PER_SECOND; // 要求少动的，每秒只换两次
    if (live && frames.length && now - before > 1000 / pace) {
      before = now;
      frame = frames.shift().state;
      drawAgent();
    }
    if (live && !asking && frames.length < STEPS_PER_SECOND / 2) {
      asking = true;
      pool.ask(run.seeds[0], { kind: "play", steps: STEPS_PER_SECOND });
      if (run.config.env_name === "MountainCar-v0") pool.ask(run.seeds[0], { kind: "inspect", plane: PLANE });
    }
    if (run && state !== "idle" && now - drawn > REDRAW && run.drawnAt !== updatesTotal(run)) {
      drawn = now;
      run.drawnAt = updatesTotal(run);
      draw();
      showProgress();
      if (state === "paused") say(sentence, words());
    }
  }

  const updatesTotal = (one) => (one.curves.return ?? []).reduce((sum, row) => sum + row.length, 0);

  function showProgress() {
    const done = run ? updatesDone(run) : 0;
    progress.hidden = compact && !run;
    progress.textContent = run
      ? `第 ${done} 次更新，共 ${updatesOf(run.config)} 次；${run.seeds.length} 个种子`
      : `${model.get("seeds").length} 个种子，每个 ${short(config().total_timesteps / 1e4)} 万步`;
  }

  // 小的一种，标题下面的一句：说的是图里的那一个，第一个种子
  function stageWords() {
    const { task, solved } = ENVS[config().env_name];
    const [score] = finalScores([run?.curves.return?.[0] ?? []]);
    const now = !run || failed ? "它现在还不会" : state !== "done" ? "它正在学" : score >= solved ? "它学会了" : "它还没有学会";
    return `${task}；${now}。`;
  }

  // 说一句话；训练途中不说，免得读屏软件念个不停
  function words() {
    if (failed) return `没有训练成：${failed}`;
    if (state === "idle") return "还没有训练。";
    if (state === "running") return `正在训练。${waiting()}`;
    const scores = finalScores(run.curves.return ?? []);
    const { solved, name } = ENVS[run.config.env_name];
    if (state === "paused") {
      const now = scores.length ? `到这里，最近的平均回报是 ${num(iqm(scores), 1)}` : "还没有走完的回合";
      return `停在第 ${updatesDone(run)} 次更新：${now}。${caveats()}`;
    }
    const told = scores.length ? `最后十分之一的平均回报，各种子的四分位均值是 ${num(iqm(scores), 1)}` : "还没有走完的回合";
    if (run.diverged) return `${run.diverged}${scores.length ? `到那时，${told}。` : ""}${caveats()}`;
    const learned = scores.filter((score) => score >= solved).length;
    if (compact) {
      return `练了 ${num(run.seconds, 1)} 秒：${run.seeds.length} 次训练里有 ${learned} 次学会了 ${name}` +
        (scores.length ? `，最后平均每回合 ${num(mean(scores), 0)} 分。` : "。") + caveats();
    }
    const changed = difference(run.config, home);
    return `训练完了：${told}；${run.seeds.length} 个种子里，${learned} 个学会了 ${name}（到了 ${short(solved)}）。` +
      (changed ? `与这一页原来的设置不同的：${changed}。` : "") + caveats();
  }

  // 这个结果不是滑块现在的样子，或者前后不是一种设置
  function caveats() {
    return (touched ? "训练的途中动过滑块，前后不是同一种设置。" : "") +
      (difference(run.config, config()) ? "滑块后来动过，要再训练，才是现在这样的结果。" : "");
  }

  // 拨了却要等下一次训练才用上的
  function waiting() {
    const later = Object.keys(LABELS).filter((key) => !LIVE_KEYS.includes(key) && config()[key] !== run.config[key]);
    return later.length ? `${later.map((key) => LABELS[key]).join("、")}要按“重来”再训练才换上。` : "";
  }

  function listRuns() {
    runList.replaceChildren();
    pinned().forEach((one, i) => {
      const item = add(runList, "li");
      const svg = addSvg(item, "svg", { width: 26, height: 12, "aria-hidden": "true" });
      addSvg(svg, "line", { x1: 0, x2: 26, y1: 6, y2: 6, ...PINNED[i % PINNED.length] });
      const scores = finalScores(one.curves.return ?? []);
      const apart = difference(one.config, config());
      add(item, "span", { textContent: `${apart || "与滑块现在的相同"}：${scores.length ? num(iqm(scores), 1) : "没有走完的回合"}` });
      const remove = add(item, "button", { type: "button", textContent: "取下" });
      remove.addEventListener("click", () => {
        one.pinned = false;
        refresh();
      });
    });
  }

  function refresh() {
    const now = config();
    setEnv(now.env_name);
    setActivation(now.activation);
    for (const key of Object.keys(rowOf)) set[key](now[key] ?? now.beta_1);
    set.lock(now.critic_beta_1);
    rowOf.critic_beta_1.hidden = now.critic_beta_1 === null;
    trainButton.textContent = { running: "暂停", paused: "继续" }[state] ?? "训练";
    stepButton.disabled = state === "running";
    slowButton.setAttribute("aria-pressed", String(slow));
    restartButton.disabled = state === "idle" && !run;
    pinButton.disabled = !run || updatesDone(run) < 2;
    pinButton.textContent = run?.pinned ? "取下这条" : "钉住这条";
    planeBox.hidden = (run?.config.env_name ?? now.env_name) !== "MountainCar-v0";
    showProgress();
    listRuns();
    draw();
    drawAgent();
    if (compact) say(caption, stageWords());
    say(sentence, words());
  }

  // 换了环境，这次就到此为止；训练途中改滑块：动态的键马上生效，其余的下一次训练才用上
  function configChanged() {
    if (run && config().env_name !== run.config.env_name) return reset();
    const training = state === "running" || state === "paused";
    if (training) {
      const moved = LIVE_KEYS.filter((key) => config()[key] !== run.config[key]);
      const values = Object.fromEntries(moved.map((key) => [key, config()[key]]));
      Object.assign(run.config, values);
      if (moved.length) pool.set(values);
      touched ||= moved.length > 0;
    }
    refresh();
  }

  // 看不见的时候不演
  const watcher = new IntersectionObserver(([entry]) => (seen = entry.isIntersecting));
  watcher.observe(stage);
  linkButton.hidden = !ownsAddress();
  model.on("change:config", configChanged);
  refresh();
  if (ownsAddress()) {
    openLink();
    window.addEventListener("hashchange", openLink);
  }
  return () => {
    cancelAnimationFrame(wanted);
    watcher.disconnect();
    window.removeEventListener("hashchange", openLink);
    model.off("change:config", configChanged);
    pool.dispose();
  };
}

export default { render };
