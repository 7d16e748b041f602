// 小测验：答了就看到每个选项的解释；答案留在这台浏览器里。

function storageKey(id) {
  return `ppo:quiz:${location.pathname}:${id}`;
}

// 存不进去（隐私模式等）也照常能答，只是不留下来。
function load(id) {
  try {
    return JSON.parse(localStorage.getItem(storageKey(id))) ?? {};
  } catch {
    return {};
  }
}

function save(id, answers) {
  try {
    localStorage.setItem(storageKey(id), JSON.stringify(answers));
  } catch {
    // 留不下来
  }
}

// 把文字里的 `代码` 放进 code 元素。
function addText(parent, tag, text) {
  const element = add(parent, tag);
  text.split("`").forEach((part, i) => {
    if (i % 2) add(element, "code", { textContent: part });
    else element.append(part);
  });
  return element;
}

function same(a, b) {
  return a.length === b.length && a.every((x, i) => x === b[i]);
}

// 一道题。answer 是答过的下标，没答过是 undefined；答了就调用 onAnswer，重答时参数是 undefined。
function addQuestion(parent, place, question, answer, onAnswer) {
  const box = add(parent, "fieldset", { className: "question" });
  const legend = add(box, "legend");
  addText(legend, "span", `${place}. ${question.text}`);
  if (question.multiple) add(legend, "span", { className: "hint", textContent: "（可选多个）" });
  const name = freshId();
  const rows = question.options.map((text, i) => {
    const row = add(box, "div", { className: "option" });
    const label = add(row, "label");
    const input = add(label, "input", { type: question.multiple ? "checkbox" : "radio", name, value: i });
    addText(label, "span", text);
    input.addEventListener("change", refresh);
    return { row, input, why: add(row, "div", { className: "why", hidden: true }) };
  });
  const button = add(box, "button", { type: "button", textContent: "回答" });
  const verdict = add(box, "p", { className: "verdict" }, { role: "status", "aria-live": "polite" });

  function chosen() {
    return rows.flatMap(({ input }, i) => (input.checked ? [i] : []));
  }

  function refresh() {
    button.disabled = answer === undefined && chosen().length === 0;
  }

  function show() {
    const done = answer !== undefined;
    rows.forEach(({ row, input, why }, i) => {
      const right = question.correct.includes(i);
      if (done) input.checked = answer.includes(i);
      input.disabled = done;
      row.classList.toggle("right", done && right);
      why.hidden = !done;
      why.replaceChildren();
      const mark = `${answer?.includes(i) ? "你选的，" : ""}${right ? "对" : "不对"}`;
      const text = right ? question.explanations[i].replace(/^对([。，]|$)/, "") : question.explanations[i]; // 前面已经说了“对”
      if (done) addText(why, "span", [mark, text].filter(Boolean).join("："));
    });
    button.textContent = done ? "再答一次" : "回答";
    verdict.textContent = !done ? "" : same(answer, question.correct)
      ? "答对了。每个选项的解释在上面。" : "没有答对。每个选项的解释在上面。";
    refresh();
  }

  button.addEventListener("click", () => {
    answer = answer === undefined ? chosen() : undefined;
    if (answer === undefined) rows.forEach(({ input }) => (input.checked = false));
    show();
    onAnswer(answer);
  });
  show();
}

function render({ model, el }) {
  const id = model.get("quiz_id");
  const questions = model.get("questions");
  const answers = load(id);
  const root = makeRoot(el, "小测验");
  questions.forEach((question, i) => {
    addQuestion(root, i + 1, question, answers[i], (answer) => {
      if (answer === undefined) delete answers[i];
      else answers[i] = answer;
      save(id, answers);
      report();
    });
  });
  const score = addSentence(root);

  function report() {
    const done = questions.filter((_, i) => answers[i]).length;
    const correct = questions.filter((q, i) => answers[i] && same(answers[i], q.correct)).length;
    const total = questions.length;
    say(score, `共 ${total} 题，答了 ${done} 题，答对 ${correct} 题。`);
    const detail = { kind: "quiz", id, done, correct, total };
    el.dispatchEvent(new CustomEvent("ppo:progress", { bubbles: true, detail }));
  }

  // 放进页面之后再报，页面上数进度的脚本才听得到
  setTimeout(report);
}

export default { render };
