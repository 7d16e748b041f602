// 预测：先圈出哪些值过线，锁定，才看得到结果；猜对一个值得一分。

function render({ model, el }) {
  const [id, total, name, text, options, scores, line, low, high, after] =
    ["guess_id", "total", "name", "text", "options", "scores", "line", "low", "high", "after"].map((key) => model.get(key));
  const root = makeRoot(el, "先猜，再看", text);
  const passed = scores.map((seeds) => iqm(seeds) >= line);
  let locked = recall(SCORE, {})[name]; // 锁定过的：{right, of, given}
  const given = new Set(locked?.given ?? []);

  const picks = add(root, "div", { className: "picks" }, { role: "group", "aria-label": "哪些过线" });
  const buttons = options.map((option, i) => {
    const button = add(picks, "button", { type: "button" });
    button.addEventListener("click", () => {
      if (locked) return;
      if (!given.delete(i)) given.add(i);
      refresh();
    });
    return button;
  });
  const lock = add(root, "button", { type: "button", className: "main", textContent: "锁定，看结果" });
  const sentence = addSentence(root);
  const draw = addChart(root, { label: "每个取值的五个种子和四分位均值", height: 190, paint });
  const offScore = addScore(root, id);

  function paint(svg, width, height) {
    if (!locked) return;
    const pad = 0.04 * (high - low);
    const { X, Y } = addAxes(svg, width, height, { x: [-0.5, options.length - 0.5], y: [low - pad, high + pad], left: 52,
      xTicks: options.map((_, i) => i), xFormat: (i) => options[i], xLabel: "", yLabel: "最后的成绩" });
    addSvg(svg, "line", { class: "axis", x1: X(-0.5), x2: X(options.length - 0.5), y1: Y(line), y2: Y(line), "stroke-dasharray": "2 4" });
    scores.forEach((seeds, i) => {
      for (const score of seeds) addSvg(svg, "circle", { cx: X(i), cy: Y(score), r: 4, fill: "none", stroke: BLUE, "stroke-width": 1.6 });
      addSvg(svg, "line", { x1: X(i - 0.3), x2: X(i + 0.3), y1: Y(iqm(seeds)), y2: Y(iqm(seeds)), stroke: ORANGE, "stroke-width": 3 });
    });
  }

  function words() {
    if (!locked) return given.size ? `圈了 ${given.size} 个。锁定以后不能改。` : "圈出你认为过线的；一个也不过，就直接锁定。";
    return `${locked.of} 个值猜对 ${locked.right} 个（✓ 猜对，✗ 猜错）。过线的是 ${options.filter((_, i) => passed[i]).join("、") || "（一个也没有）"}。${after}`;
  }

  function refresh() {
    buttons.forEach((button, i) => {
      const mine = given.has(i);
      button.textContent = options[i] + (locked ? (mine === passed[i] ? " ✓" : " ✗") : "");
      button.setAttribute("aria-pressed", String(mine));
      if (!locked) return;
      const result = `${passed[i] ? "过线" : "没过"}，${mine === passed[i] ? "猜对了" : "猜错了"}`;
      button.setAttribute("aria-label", `${options[i]}：${result}`);
      button.setAttribute("aria-disabled", "true");
    });
    lock.hidden = Boolean(locked);
    root.querySelector(".chart").hidden = !locked;
    draw();
    say(sentence, words());
  }

  lock.addEventListener("click", () => {
    const right = passed.filter((pass, i) => pass === given.has(i)).length;
    locked = keepScore(el, id, total, name, { right, of: options.length, given: [...given] });
    refresh();
    buttons[0].focus();
  });
  refresh();
  setTimeout(() => keepScore(el, id, total)); // 放进页面之后再报
  return offScore;
}

export default { render };
