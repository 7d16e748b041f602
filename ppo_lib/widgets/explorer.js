// 回报曲线探索器：记录好的网格，滑块只停在记录过的值上；也可以真的再训练一次，在网页里，或在内核里。

// 网格上一点的曲线：每个种子一列数。places 是各轴的下标。
export function pick(values, sizes, places, seeds, points) {
  const cell = places.reduce((index, place, i) => index * sizes[i] + place, 0);
  return Array.from({ length: seeds }, (_, seed) => {
    const start = (cell * seeds + seed) * points;
    return Array.from(values.slice(start, start + points));
  });
}

function readout(rows) {
  const scores = finalScores(rows);
  const missing = rows.length - scores.length;
  if (!scores.length) return "一个回合也没有走完";
  return `${scores.length} 个种子最后十分之一的平均回报是 ${num(mean(scores), 1)}` +
    `，四分位均值 ${num(iqm(scores), 1)}` + (missing ? `；另有 ${missing} 个种子没有走完的回合` : "");
}

// 说出选在哪里。要的值没有记录过时，说出用的是哪个。
function describe(axes, places, chosen, rows) {
  const where = axes.map(({ name, label, values }, i) => {
    const write = axisFormat(values);
    const recorded = values[places[i]];
    const asked = chosen[name];
    if (Math.abs(asked - recorded) <= 1e-9 * Math.abs(recorded)) return `${label} = ${write(recorded)}`;
    return `${label} 要的是 ${write(asked)}，最近的记录值是 ${write(recorded)}`;
  });
  return `${where.join("，")}。${readout(rows)}。`;
}

const BAND = { fill: BLUE, "fill-opacity": 0.22 };
const MIDDLE = { stroke: BLUE, "stroke-width": 2.6 };
const THIN = { class: "thin", stroke: BLUE, "stroke-width": 0.8 };
const LIVE = { stroke: ORANGE, "stroke-width": 2.6, "stroke-dasharray": "8 3" };
const LIVE_THIN = { class: "thin", stroke: ORANGE, "stroke-width": 0.8 };

// 训练到了哪里；还没有训练过就是空的。
function liveWords(axes, curve) {
  if (!curve.values) return "";
  const where = axes.map(({ name, label, values }) =>
    `${label} = ${axisFormat(values)(curve.values[name])}`).join("，");
  if (curve.error) return `在 ${where} 没有训练完：${curve.error}`;
  if (!curve.done) return `正在 ${where} 训练，虚线会越画越长`;
  const seeds = curve.seeds?.length ? `种子 ${curve.seeds[0]} 到 ${curve.seeds.at(-1)}，` : "";
  return `在 ${where} ${curve.place ?? "内核里"}训练了 ${curve.seconds} 秒：${seeds}${readout(curve.returns.map(fromJson))}。` +
    "在这一点再按一次，换接下来的种子，合在一起算";
}

// 在网页里训练选的一点，换接下来的种子，与这一点先前训练完的合在一起。show 收 live_curve 那样的对象。
function createPageTrainer(model, show) {
  const finished = new Map(); // 滑块的值 → 训练完的 {seeds, returns}
  const pool = createPool(() => loadEngine(model), receive);
  let run = null; // 正在训练的：{key, curve, seeds, returns, left, error, start, shown}

  function start(values) {
    const { config, first_seed, num_seeds } = model.get("in_page");
    const key = JSON.stringify(values);
    const earlier = finished.get(key) ?? { seeds: [], returns: [] };
    const seeds = Array.from({ length: num_seeds }, (_, i) => first_seed + earlier.seeds.length + i);
    const full = { ...config, ...values };
    run = { key, values, earlier, seeds, returns: seeds.map(() => []), left: num_seeds, step: batchSize(full),
      error: "", start: performance.now(), shown: 0 };
    tell(false);
    pool.start(full, seeds);
  }

  function tell(done) {
    const { key, values, earlier, step, error } = run;
    run.shown = performance.now();
    const seeds = [...earlier.seeds, ...run.seeds];
    const returns = [...earlier.returns, ...run.returns];
    const timesteps = Array.from({ length: Math.max(...returns.map((row) => row.length)) }, (_, i) => (i + 1) * step);
    const seconds = num((run.shown - run.start) / 1000, 1);
    if (done && !error) finished.set(key, { seeds, returns });
    if (done) run = null;
    show({ values, seeds, timesteps, returns, done, seconds, place: "网页里", ...(error && { error }) });
  }

  function end() {
    pool.close();
    tell(true);
  }

  function receive(message) {
    if (!run) return;
    for (const { seed, update, metrics } of message.rows ?? []) {
      run.returns[run.seeds.indexOf(seed)][update - 1] = metrics.return;
    }
    if (message.kind === "diverged") run.error ||= `种子 ${message.seed}，${message.text}`;
    if (message.kind === "error") run.error = message.text;
    if (message.kind === "done" || message.kind === "diverged") run.left -= 1;
    if (message.kind === "error" || !run.left) end();
    else if (performance.now() - run.shown > 150) tell(false);
  }

  function stop() {
    run.error = "中途停下了，不算数";
    end();
  }

  return { start, stop, running: () => run !== null, dispose: pool.dispose };
}

// 按钮“用真的训练验证”：没有内核就在网页里训练；有内核，读者选在哪里。
function addLiveButton(root, model, axes, chosenValues) {
  const row = add(root, "div", { className: "live" });
  const choice = add(row, "div");
  const button = add(row, "button", { type: "button" });
  const note = add(row, "span", {}, { role: "status" });
  const inPage = Boolean(model.get("in_page")?.config);
  const page = createPageTrainer(model, (curve) => model.set("live_curve", curve));
  let kernel = false;
  let place = inPage ? "page" : "kernel";
  const setPlace = addRadios(choice, { label: "在哪里训练", options: [["kernel", "内核里"], ["page", "这个网页里"]],
    onInput: (value) => (place = value) });

  function refresh() {
    const curve = model.get("live_curve") ?? {};
    const busy = Boolean(curve.values && !curve.done) && (kernel || page.running());
    choice.hidden = !(kernel && inPage);
    setPlace(place);
    button.textContent = page.running() ? "停下" : "用真的训练验证";
    button.disabled = !page.running() && (busy || !(kernel || inPage));
    const words = kernel || busy || curve.done ? liveWords(axes, curve) : "";
    const before = kernel || inPage ? "" : "没有内核，这里只有记录";
    say(note, [before, words].filter(Boolean).join("。") || "按一下，在选的这一点从头训练");
  }
  const receive = (message) => {
    if (message.kind !== "hello") return;
    kernel = true;
    place = "kernel";
    refresh();
  };
  model.on("msg:custom", receive);
  model.on("change:live_curve", refresh);
  button.addEventListener("click", () => {
    if (page.running()) return page.stop();
    if (place === "page") return page.start(chosenValues());
    button.disabled = true;
    say(note, "正在准备，第一次要先编译");
    model.send({ kind: "train", values: chosenValues() });
  });
  refresh();
  model.send({ kind: "hello" });
  return () => {
    model.off("msg:custom", receive);
    model.off("change:live_curve", refresh);
    page.dispose();
  };
}

function fromJson(row) {
  return row.map((x) => x ?? NaN);
}

function render({ model, el }) {
  const axes = model.get("axes");
  const steps = model.get("timesteps");
  const values = unpack({ data: model.get("data"), scale: model.get("scale"), offset: model.get("offset") });
  const sizes = axes.map((axis) => axis.values.length);
  const root = makeRoot(el, "回报曲线探索器", "滑块只停在记录过的值上，曲线都是真的训练留下的，没有插值。");
  const controls = add(root, "div", { className: "controls" });
  const set = axes.map(({ name, label, values: recorded }) => addSlider(controls, {
    label, values: recorded, format: axisFormat(recorded),
    onInput: (value) => setter(model, "chosen")({ ...model.get("chosen"), [name]: value }),
  }));
  const draw = addChart(root, { label: "回报随环境步数的变化", height: 300, paint });
  addLegend(root, [
    [MIDDLE, "四分位均值"], [BAND, "95% 分位带：种子散开的范围"], [THIN, "各个种子"],
    ...(model.get("live_offered") ? [[LIVE, "刚才真的训练的"]] : []),
  ]);
  const sentence = addSentence(root);
  const places = () => axes.map(({ name, values: v }) => nearest(v, model.get("chosen")[name]));
  const rows = () => pick(values, sizes, places(), model.get("num_seeds"), steps.length);
  const chosenValues = () => Object.fromEntries(axes.map(({ name, values: v }, i) => [name, v[places()[i]]]));
  const offLive = model.get("live_offered") ? addLiveButton(root, model, axes, chosenValues) : () => {};
  if (model.get("caption")) add(root, "p", { className: "caption", textContent: model.get("caption") });

  const recordedRange = range(values);

  function range(xs, [low, high] = [Infinity, -Infinity]) {
    for (const x of xs) if (Number.isFinite(x)) [low, high] = [Math.min(low, x), Math.max(high, x)];
    return [low, high];
  }

  // 纵轴的范围取自整个网格，拨滑块时不跳。
  function paint(svg, width, height) {
    const live = model.get("live_curve") ?? {};
    const liveRows = (live.returns ?? []).map(fromJson);
    let [low, high] = liveRows.reduce((sofar, row) => range(row, sofar), recordedRange);
    if (!Number.isFinite(low)) [low, high] = [0, 1];
    const pad = 0.04 * (high - low) || 1;
    const last = Math.max(...steps, ...(live.timesteps ?? []));
    const scale = addAxes(svg, width, height, { x: [0, last], y: [low - pad, high + pad],
      left: 52, xFormat: (x) => short(x / 1e4), xLabel: "环境步数（万步）", yLabel: "回报" });
    paintSeeds(svg, scale, steps, rows(), { band: BAND, thin: THIN, middle: MIDDLE });
    if (liveRows.length) {
      paintSeeds(svg, scale, live.timesteps, liveRows, { thin: LIVE_THIN, middle: LIVE });
    }
  }

  const off = follow(model, ["chosen", "live_curve"], () => {
    set.forEach((slide, i) => slide(axes[i].values[places()[i]]));
    draw();
    say(sentence, describe(axes, places(), model.get("chosen"), rows()));
  });
  return () => {
    off();
    offLive();
  };
}

export default { render };
