// 热图：点格子看曲线，两格对比，换种子。

const STYLES = [
  { letter: "A", color: BLUE, dash: "none" },
  { letter: "B", color: ORANGE, dash: "8 3" },
].map(({ letter, color, dash }) => ({
  letter,
  thin: { class: "thin", stroke: color, "stroke-width": 0.8 },
  middle: { stroke: color, "stroke-width": 2.6, "stroke-dasharray": dash },
}));

const TOP = 5; // 名次表列几格

// 从种子 0 到 n - 1 里取 k 个的全部取法
export function choices(n, k, first = 0) {
  if (k === 0) return [[]];
  return Array.from({ length: Math.max(n - first - k + 1, 0) }, (_, i) => first + i)
    .flatMap((seed) => choices(n, k - 1, seed + 1).map((rest) => [seed, ...rest]));
}

// 整段的成绩：从头到尾的平均，跳过 NaN
function wholeScores(rows) {
  return rows.map((row) => mean(row.filter(Number.isFinite)));
}

function render({ model, el }) {
  const boards = model.get("boards").map((board) => {
    const values = unpack(board);
    const points = board.timesteps.length;
    const curve = (cell, seed) => {
      const start = (cell * board.num_seeds + seed) * points;
      return Array.from(values.slice(start, start + points));
    };
    const cells = values.length / points / board.num_seeds;
    const scores = Array.from({ length: cells }, (_, cell) =>
      Array.from({ length: board.num_seeds }, (__, seed) => finalScores([curve(cell, seed)])[0] ?? NaN));
    return { ...board, curve, scores, sizes: board.axes.map((axis) => axis.values.length) };
  });
  const root = makeRoot(el, "热图：点一格，看它的曲线",
    "格里是四分位均值。● 整个 95% 区间都过线，○ 跨在线上，没有记号就是没过。点的格放到 A 或 B；键盘：方向键走，回车放。");
  let board, fixed, place, drawn, before, pins, left, firsts; // left：还没有看过的取法；firsts：各批的第一名
  let letter = 0;
  let count = 5;

  const controls = add(root, "div", { className: "controls" });
  const setBoard = addRadios(controls, { label: "哪张网格", options: boards.map(({ name, label }) => [name, label]), onInput: choose });
  const fixedBox = add(controls, "div");
  const setCount = addRadios(controls, { label: "看几个种子", options: [["1", "1"], ["3", "3"], ["5", "全部 5 个"]], onInput: (k) => {
    count = Number(k);
    redraw();
  } });
  const shuffle = add(controls, "button", { type: "button", textContent: "换种子" });
  const setLetter = addRadios(controls, { label: "点的格放到", options: [["0", "A（蓝，实线）"], ["1", "B（橙，虚线）"]], onInput: (x) => (letter = Number(x)) });
  const draw = addCells(root, { label: "热图", onPress: pin });
  const sentence = addSentence(root);
  const drawCurves = addChart(root, { label: "A 和 B 的回报随环境步数的变化", height: 260, paint });
  addLegend(root, STYLES.map(({ letter: name, middle }) => [middle, `${name} 的四分位均值（细线是各个种子）`]));
  const ranking = add(root, "div", { className: "ranking" });
  const fillRanks = addTable(ranking, "这一批种子的前五名", ["格", "成绩", "这一批第几", "上一批第几", "五个种子第几"]);
  const rankWords = add(ranking, "p", {}, { role: "status", "aria-live": "polite" });
  let setFixed = () => {};
  let setPlace = () => {};

  const view = () => slice(board.axes, fixed, place);
  const where = (cell) => nameCell(board.axes, placesOf(board.sizes, cell));
  const pick = (cell) => drawn.map((seed) => board.scores[cell][seed]);
  const middles = () => board.scores.map((_, cell) => iqm(pick(cell)));

  function choose(name) {
    board = boards.find((one) => one.name === name);
    fixed = board.axes.length > 2 ? board.axes.findIndex((axis) => axis.name === board.fixed) : -1;
    pins = board.pins.map((places) => cellOf(board.sizes, places));
    buildFixed();
    redraw();
  }

  // 三个键的网格：固定哪个键，固定在多少
  function buildFixed() {
    fixedBox.replaceChildren();
    if (fixed < 0) return;
    setFixed = addRadios(fixedBox, { label: "固定哪个键", options: board.axes.map(({ name, short: text }) => [name, text]), onInput: (name) => {
      fixed = board.axes.findIndex((axis) => axis.name === name);
      buildFixed();
      refresh();
    } });
    const { label, values } = board.axes[fixed];
    place = placesOf(board.sizes, pins[0])[fixed]; // 切在 A 的那一片
    setPlace = addSlider(fixedBox, { label, values, format: axisFormat(values), onInput: (value) => {
      place = nearest(values, value);
      refresh();
    } });
  }

  function redraw(again = false) {
    before = again ? ranks(middles()) : null;
    if (!again) [firsts, left] = [[], choices(board.num_seeds, count)];
    [drawn] = left.splice(Math.floor(Math.random() * left.length), 1);
    const order = ranks(middles());
    if (count < board.num_seeds) firsts.push(order.flatMap((rank, cell) => (rank === 1 ? [cell] : [])));
    refresh();
  }

  function pin(i, j) {
    pins[letter] = cellOf(board.sizes, view().places(i, j));
    refresh();
  }

  // ---- 说

  function compareWords() {
    const [a, b] = pins;
    const each = pins.map((cell, i) => `${STYLES[i].letter}：${where(cell)}，${num(iqm(pick(cell)), 0)}。`).join("");
    if (a === b) return `${each}A 和 B 是同一格。`;
    if (count < 3) return `${each}只看一个种子，没有区间可言。`;
    const kinds = [["最后的成绩", finalScores], ["整段的成绩", wholeScores]];
    return each + kinds.map(([name, score]) => {
      const [gap, low, high] = difference(...pins.map((cell) => score(drawn.map((seed) => board.curve(cell, seed)))));
      const sign = (x) => (x > 0.5 ? "+" : "") + num(x, 0);
      const verdict = low > 0 ? "A 高" : high < 0 ? "B 高" : "看不出差别";
      return `${name}，A 减 B 是 ${sign(gap)}（95% 区间 ${sign(low)} 到 ${sign(high)}），${verdict}`;
    }).join("；") + "。";
  }

  function tellRanks() {
    const now = middles();
    const order = ranks(now);
    const truth = ranks(board.scores.map(iqm));
    const tied = order.filter((rank) => rank === 1).length;
    const top = order.map((_, cell) => cell).sort((a, b) => order[a] - order[b] || truth[a] - truth[b]).slice(0, TOP);
    fillRanks(top.map((cell) => [where(cell), num(now[cell], 1), `${order[cell]}`, before ? `${before[cell]}` : "—", `${truth[cell]}`]));
    const leaders = new Set(firsts.flat()).size;
    const told = firsts.length > 1
      ? `看过 ${firsts.length} 批，当过第一的有 ${leaders} 格。${left.length ? "" : "各种取法都看过了。"}`
      : "按“换种子”，看名次动不动。";
    say(rankWords, (tied > 1 ? `${tied} 格并列第一，比不出高低。` : "") + (count < board.num_seeds
      ? `这一批是种子 ${drawn.join("、")}。${told}` : "五个种子全看了；想看名次动不动，先改成看 3 个。"));
  }

  // ---- 画

  function paintCell(i, j) {
    const cell = cellOf(board.sizes, view().places(i, j));
    const scores = pick(cell);
    const middle = iqm(scores);
    const [low, high] = count < 3 ? [-Infinity, -Infinity] : band(scores);
    const mark = low >= board.line ? "●" : high >= board.line ? "○" : "";
    const state = { "●": "整个区间过线", "○": "说不准过没过线", "": "" }[mark];
    const held = pins.flatMap((one, k) => (one === cell ? [STYLES[k].letter] : [])).join("");
    return { text: num(middle, 0), level: (middle - board.low) / (board.high - board.low), pressed: held !== "", look: [...held].map((one) => `held-${one}`).join(" "),
      mark: held + mark, name: `${where(cell)}：${num(middle, 0)}${held && ` ${held}`}${state && `，${state}`}` };
  }

  function paint(svg, width, height) {
    const pad = 0.04 * (board.high - board.low);
    const scale = addAxes(svg, width, height, { x: [0, board.timesteps.at(-1)], y: [board.low - pad, board.high + pad],
      left: 52, xFormat: (x) => short(x / 1e4), xLabel: "环境步数（万步）", yLabel: "回报" });
    addSvg(svg, "line", { class: "axis", x1: scale.X(0), x2: scale.X(board.timesteps.at(-1)), y1: scale.Y(board.line), y2: scale.Y(board.line), "stroke-dasharray": "2 4" });
    pins.forEach((cell, i) => paintSeeds(svg, scale, board.timesteps, drawn.map((seed) => board.curve(cell, seed)), STYLES[i]));
  }

  function refresh() {
    setBoard(board.name);
    setCount(String(count));
    setLetter(String(letter));
    if (fixed >= 0) {
      setFixed(board.axes[fixed].name);
      setPlace(board.axes[fixed].values[place]);
    }
    shuffle.disabled = left.length === 0;
    draw({ ...view(), cell: paintCell });
    drawCurves();
    tellRanks();
    say(sentence, compareWords());
  }

  shuffle.addEventListener("click", () => redraw(true));
  choose(boards[0].name);
}

export default { render };
