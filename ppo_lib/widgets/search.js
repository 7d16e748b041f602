// 十五次试探：每次看到一个种子；交出一格，猜没看过的种子，再揭晓。

const LISTED = 6; // 看过的格，列出最高的几格

// 第 seed 局里，一格的种子按什么次序出现：mulberry32 洗牌，重开网页也不变
export function deal(seed, cell, count) {
  let state = (seed + 0x9e3779b9 * (cell + 1)) | 0;
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// 一百个一样可能的随机搜索里，几个不如你；打平的算一半
export function beaten(quantiles, score) {
  return quantiles.reduce((sum, x) => sum + (x < score ? 1 : x === score ? 0.5 : 0), 0) * (100 / quantiles.length);
}

function addTries(parent) {
  const box = add(parent, "ol", { className: "tries" }, { "aria-label": "看到的最高的几格" });
  return (rows, onHand) => {
    box.replaceChildren();
    for (const { text, cell } of rows) {
      const item = add(box, "li");
      add(item, "span", { textContent: text });
      if (!onHand) continue;
      const button = add(item, "button", { type: "button", textContent: "交这一格" }, { "aria-label": `交这一格：${text}` });
      button.addEventListener("click", () => onHand(cell));
    }
  };
}

function render({ model, el }) {
  const boards = model.get("boards").map((board) => ({ ...board, scores: unpack(board) }));
  const [budget, most, id, total] = ["budget", "most", "guess_id", "total"].map((name) => model.get(name));
  const root = makeRoot(el, "十五次试探", `点一格，训练一次，看到一个种子的成绩；同一格再点，是另一个种子（最多看 ${most} 个）。` +
    "用完之后交出一格。键盘：方向键走，回车试。");
  const kept = recall("ppo:search", { board: 0, games: {}, finished: {} });
  let board = boards[Math.min(kept.board, boards.length - 1)];
  const fresh = () => ({ seed: Math.floor(Math.random() * 2 ** 31), probes: [], handed: null, guess: null });
  const game = () => (kept.games[board.name] ??= fresh());
  let place = 0; // 切在哪一片
  let message = "";

  const controls = add(root, "div", { className: "controls" });
  const setBoard = addRadios(controls, { label: "在哪里找",
    options: boards.map(({ name, label }) => [name, label]), onInput: choose });
  const slider = add(controls, "div");
  const draw = addCells(root, { label: "试探的格子", onPress: probe });
  const sentence = addSentence(root);
  const guessBox = add(root, "form", { className: "guess" });
  const list = addTries(root);
  const drawReveal = addChart(root, { label: "揭晓：你交的格、最好的格、一百个随机搜索", height: 300, paint });
  const again = add(root, "button", { type: "button", textContent: "再来一局" });
  const history = add(root, "p", { className: "help" });
  const offScore = addScore(root, id);
  let setSlice = () => {};

  // ---- 一局里的数

  const sizes = () => board.axes.map(({ values }) => values.length);
  const sliced = () => board.axes.length > 2;
  const view = () => slice(board.axes, sliced() ? 0 : -1, place);
  const seeds = (cell) => Array.from(board.scores.slice(cell * board.num_seeds, (cell + 1) * board.num_seeds));
  const order = (cell) => deal(game().seed, cell, board.num_seeds);
  const times = (cell) => game().probes.filter((x) => x === cell).length;
  const seen = (cell) => order(cell).slice(0, times(cell)).map((seed) => seeds(cell)[seed]);
  const unseen = (cell) => order(cell).slice(times(cell)).map((seed) => seeds(cell)[seed]);
  const over = () => game().guess !== null;
  const left = () => budget - game().probes.length;
  const where = (cell) => nameCell(board.axes, placesOf(sizes(), cell));
  const bestCell = () => {
    const middles = Array.from({ length: board.scores.length / board.num_seeds }, (_, cell) => iqm(seeds(cell)));
    return middles.indexOf(Math.max(...middles));
  };

  // ---- 走一步

  function choose(name) {
    board = boards.find((one) => one.name === name);
    kept.board = boards.indexOf(board);
    message = "";
    prepare();
  }

  function prepare() {
    const start = board.axes[0].values.indexOf(board.start);
    place = sliced() ? Math.max(start, 0) : 0;
    slider.replaceChildren();
    if (sliced()) {
      const { label, values } = board.axes[0];
      setSlice = addSlider(slider, { label, values, format: axisFormat(values), onInput: (value) => {
        place = nearest(values, value);
        refresh();
      } });
    }
    refresh();
  }

  function probe(i, j) {
    const cell = cellOf(sizes(), view().places(i, j));
    if (over()) return;
    if (left() === 0) {
      if (times(cell)) return hand(cell);
      message = "没有试过的不能交。";
    } else if (times(cell) === most) message = `这一格看过 ${most} 个种子了，剩下的留到揭晓。`;
    else {
      game().probes.push(cell);
      message = `${where(cell)}：${num(seen(cell).at(-1), 0)}。`;
    }
    refresh();
  }

  // 锁定之前，可以换一格交
  function hand(cell) {
    game().handed = cell;
    message = "";
    refresh();
    guessBox.querySelector("input").focus();
  }

  function lock(guess) {
    const { handed } = game();
    game().guess = guess;
    const hidden = mean(unseen(handed));
    (kept.finished[board.name] ??= []).push({ seen: mean(seen(handed)), hidden, beat: beaten(board.random.quantiles, hidden) });
    const right = Math.abs(guess - hidden) <= board.tolerance ? 1 : 0;
    keepScore(el, id, total, `search-${board.name}`, { right, of: 1 }); // 只有第一局算分
    refresh();
    again.focus();
  }

  // ---- 说

  function words() {
    if (over()) return ending();
    if (game().handed !== null) return `你交出了 ${where(game().handed)}，看到的是 ${num(mean(seen(game().handed)), 0)}。先猜，再揭晓。`;
    const ask = left() ? `还剩 ${left()} 次。` : "用完了：点一格试过的，交出去。";
    return `${message}${ask}`;
  }

  function ending() {
    const { handed, guess } = game();
    const [mine, rest] = [mean(seen(handed)), mean(unseen(handed))];
    const fell = Math.round(mine) - Math.round(rest); // 与写出来的两个数对得上
    const beat = Math.round(beaten(board.random.quantiles, rest));
    const best = bestCell();
    const off = Math.abs(guess - rest);
    return `你看到 ${num(mine, 0)}（${seen(handed).length} 个种子），没给你看的 ${unseen(handed).length} 个种子平均 ${num(rest, 0)}，` +
      `${fell === 0 ? "一样" : `${fell > 0 ? "低" : "高"}了 ${num(Math.abs(fell), 0)} 分`}。` +
      `你猜 ${num(guess, 0)}，差 ${num(off, 0)}，${off <= board.tolerance ? "得一分" : `超出 ${board.tolerance}，不得分`}。` +
      `随机搜索平均看到 ${num(board.random.seen, 0)}，没看过的种子给它 ${num(board.random.hidden, 0)}；你胜过其中的 ${beat}%。` +
      `记录里最好的是 ${where(best)}，五个种子的四分位均值 ${num(iqm(seeds(best)), 0)}。`;
  }

  function told() {
    const past = kept.finished[board.name] ?? [];
    if (past.length < 2) return past.length ? "只有第一局的猜测算分；再来一局，换一副种子的次序。" : "";
    const average = (key) => num(mean(past.map((one) => one[key])), 0);
    return `${past.length} 局下来：交的时候平均看到 ${average("seen")}，没看过的种子平均 ${average("hidden")}，平均胜过 ${average("beat")}% 的随机搜索。`;
  }

  // ---- 画

  const level = (score) => (score - board.low) / (board.high - board.low);

  function paintCell(i, j) {
    const cell = cellOf(sizes(), view().places(i, j));
    const scores = over() ? seeds(cell) : seen(cell);
    const score = scores.length ? (over() ? iqm(scores) : mean(scores)) : NaN;
    const count = times(cell);
    const state = !scores.length ? "没试过" : `${over() ? "五个种子的四分位均值" : `看过 ${count} 个种子，平均`} ${num(score, 0)}`;
    return { text: scores.length ? num(score, 0) : "·", level: level(score), pressed: cell === game().handed,
      mark: count ? "●".repeat(count) : "", name: `${where(cell)}：${state}`, disabled: over() || (left() === 0 && !count) };
  }

  function paint(svg, width, height) {
    if (!over()) return;
    const { handed } = game();
    const { X } = addAxes(svg, width, height, { x: [board.low, board.high], y: [0, 1], yTicks: [], xLabel: "成绩", yLabel: "", left: 12 });
    const row = (y, text, ours, hollow) => {
      addSvg(svg, "text", { x: 12, y: y - 12 }, text);
      for (const [scores, fill] of [[ours, BLUE], [hollow, "none"]])
        for (const score of scores) addSvg(svg, "circle", { cx: X(score), cy: y, r: 5, fill, stroke: BLUE, "stroke-width": 2 });
      if (hollow.length) addSvg(svg, "line", { x1: X(mean(hollow)), x2: X(mean(hollow)), y1: y - 9, y2: y + 9, stroke: ORANGE, "stroke-width": 3 });
    };
    row(34, "你交的格：实心看过，空心没看过，竖线是空心的平均", seen(handed), unseen(handed));
    row(80, "记录里最好的格", [], seeds(bestCell()));
    addSvg(svg, "text", { x: 12, y: 112 }, "一百个一样可能的随机搜索，各自没看过的种子；竖线是你");
    const size = 7;
    const heights = {};
    const tallest = () => Math.max(...Object.values(heights));
    const columns = board.random.quantiles.map((score) => Math.round(X(score) / size));
    const dots = columns.map((column) => [column * size, (heights[column] = (heights[column] ?? 0) + 1)]);
    const step = Math.min(size, (height - 38 - 122) / tallest());
    for (const [x, y] of dots) addSvg(svg, "circle", { cx: x, cy: height - 38 - (y - 0.5) * step, r: Math.min(3, step / 2), fill: "currentColor", "fill-opacity": 0.55 });
    const mine = X(mean(unseen(handed)));
    addSvg(svg, "line", { x1: mine, x2: mine, y1: 120, y2: height - 38, stroke: ORANGE, "stroke-width": 3 });
  }

  function askGuess() {
    guessBox.replaceChildren();
    guessBox.hidden = game().handed === null || over();
    if (guessBox.hidden) return;
    const rest = unseen(game().handed).length;
    const row = add(guessBox, "label", { className: "blank" });
    add(row, "span", { textContent: `没给你看的 ${rest} 个种子，平均多少？（差 ${board.tolerance} 分以内算对）` });
    const input = add(row, "input", { type: "number", required: true, min: board.low, max: board.high, step: "any" });
    const { low, high } = board;
    input.addEventListener("input", () => input.setCustomValidity(
      input.validity.rangeUnderflow || input.validity.rangeOverflow ? `要在 ${num(low, 0)} 到 ${num(high, 0)} 之间。` : ""));
    add(guessBox, "button", { type: "submit", className: "main", textContent: "锁定，揭晓" });
    guessBox.onsubmit = (event) => {
      event.preventDefault();
      lock(Number(input.value));
    };
  }

  function refresh() {
    remember("ppo:search", kept);
    setBoard(board.name);
    if (sliced()) setSlice(board.axes[0].values[place]);
    draw({ ...view(), cell: paintCell });
    const tried = [...new Set(game().probes)].sort((a, b) => mean(seen(b)) - mean(seen(a)));
    const rows = tried.slice(0, LISTED).map((cell) => ({ cell, text: `${where(cell)}：${seen(cell).map((x) => num(x, 0)).join("、")}` }));
    list(over() ? [] : rows, left() === 0 ? hand : null);
    askGuess();
    drawReveal();
    root.querySelector(".chart").hidden = !over();
    again.hidden = !over();
    history.textContent = told();
    say(sentence, words());
  }

  again.addEventListener("click", () => {
    kept.games[board.name] = fresh();
    message = "";
    refresh();
    root.querySelector(".cells button[tabindex='0']").focus();
  });
  prepare();
  setTimeout(() => keepScore(el, id, total)); // 放进页面之后再报
  return offScore;
}

export default { render };
