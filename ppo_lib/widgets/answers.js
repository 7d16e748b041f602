// 答题框：填空和选择的练习。判卷照 spec（course/exercises/answer.py 编译的字典），与那里的 judge 逐行对应。

// ---- 读：框里的东西 → 判卷用的。没填是 null；读不懂就抛出给读者的话

function parseNumber(text) {
  const clean = text.replaceAll(/[\s，,]/g, "").replaceAll("−", "-").replaceAll(/^[约≈~]|[倍次步个分遍条]$/g, "");
  if (clean === "") return null;
  const number = "[+-]?(?:\\d+\\.?\\d*|\\.\\d+)(?:e[+-]?\\d+)?";
  const parts = clean.match(new RegExp(`^(${number})(?:/(${number})|([%％]))?$`, "i"));
  if (!parts) throw new Error(`“${text.trim()}” 不是一个数。`);
  const [, value, below, percent] = parts;
  const result = Number(value) / (below === undefined ? 1 : Number(below)) / (percent ? 100 : 1);
  if (!Number.isFinite(result)) throw new Error(`“${text.trim()}” 不是一个数。`);
  return result;
}

function parseShape(text) {
  const clean = text.trim().replaceAll("，", ",").replaceAll(/[()（）\[\]\s]/g, "").replace(/,$/, "");
  if (clean === "") return null;
  if (!/^\d+(,\d+)*$/.test(clean)) throw new Error("形状写成几个整数，用逗号分开，例如 128, 16。");
  return clean.split(",").map(Number);
}

// ---- 判卷

function equal(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}

function firstHint(field, match) {
  const told = field.wrong.find(match);
  return told ? told.at(-1) : (field.usual?.find(match) ?? [""]).at(-1) + field.hint;
}

// 一格：[错在哪里，附注]；对了，前一样是 null。
function judgeField(field, answer) {
  const inside = (intervals) => intervals.some(([low, high]) => low <= answer && answer <= high);
  if (field.kind === "number") {
    if (inside(field.right)) return [null, ""];
    if (inside(field.coarse)) return [null, `（更准的是 ${Number(field.value.toPrecision(4))}。）`];
    return [firstHint(field, ([low, high]) => low <= answer && answer <= high), ""];
  }
  if (field.kind === "order") {
    const broken = field.rules.find(([a, b]) => answer.indexOf(a) > answer.indexOf(b));
    return [broken ? broken[2] : null, ""];
  }
  if (field.right === null || equal(answer, field.right)) return [null, ""];
  if (field.kind !== "subset") return [firstHint(field, ([x]) => equal(x, answer)), ""];
  const [all, extra, missing] = [
    field.wrong.find(([some]) => equal(some, answer)),
    field.extra.find(([x]) => answer.includes(x) && !field.right.includes(x)),
    field.missing.find(([x]) => !answer.includes(x) && field.right.includes(x)),
  ];
  const left = field.right.filter((x) => !answer.includes(x)).length;
  return [(all ?? extra ?? missing ?? [field.hint.replaceAll("{missing}", left)]).at(-1), ""];
}

function matches(field, answer, pattern) {
  if (field.kind !== "number") return equal(answer, pattern);
  return Math.abs(answer - pattern) <= 5e-3 * Math.max(Math.abs(pattern), 1e-3);
}

// 从 like 那一格拿来的答案，放在 field 这一格里对不对；两格要是同一种，填什么都行的不算。
function fits(field, answer, like) {
  if (field.kind !== like.kind || !equal(field.options, like.options)) return false;
  const owned = field.kind === "number" ? "value" in field : (field.right ?? null) !== null;
  return owned && field.kind !== "subset" && judgeField(field, answer)[0] === null;
}

// 不对的几格，填的是不是别的格的答案，只是放错了格：是就说一句。
function misplaced(fields, answers, wrong) {
  const which = (bad) => fields.flatMap((_, i) => (wrong[i] === bad ? [i] : []));
  const places = which(true);
  const left = which(places.length > 1);
  if (new Set(fields.map((field) => JSON.stringify(field.right))).size < fields.length) return "";
  const owners = [];
  for (const i of places) {
    const owner = left.findIndex((j) => fits(fields[j], answers[i], fields[i]));
    if (owner < 0) return "";
    owners.push(fields[left.splice(owner, 1)[0]].name);
  }
  const names = places.map((i) => fields[i].name).join("、");
  if (places.length === 1) return `${names} 填的是 ${owners[0]} 的答案，那一格已经对了。`;
  return `${names} 这 ${places.length} 格互相放错了：要填的都在，换一换位置。`;
}

// [对不对，给读者的话]
function judge(spec, answers) {
  const { fields } = spec;
  for (const [pattern, hint] of spec.wrong)
    if (pattern.every((x, i) => x === null || matches(fields[i], answers[i], x))) return [false, hint];
  const hints = fields.map((field, i) => judgeField(field, answers[i]));
  const wrong = hints.findIndex(([hint]) => hint !== null);
  if (wrong < 0) return [true, spec.praise + hints.map(([, note]) => note).join("")];
  const moved = misplaced(fields, answers, hints.map(([hint]) => hint !== null));
  const right = hints.filter(([hint]) => hint === null).length;
  const count = right && fields.length > 2 ? `对了 ${right} 个。` : "";
  const name = fields.length > 1 ? `${fields[wrong].name}：` : "";
  return [false, count + moved + name + hints[wrong][0]];
}

// ---- 框。每个返回 {read, fill}：读出答案，摆上从前填的（框里的原样）

function addText(parent, field, read, placeholder) {
  const row = add(parent, "label", { className: "blank" });
  add(row, "span", { textContent: field.name });
  const input = add(row, "input", { type: "text", placeholder }, { spellcheck: "false" });
  return { read: () => read(input.value), raw: () => input.value, fill: (text) => (input.value = text) };
}

function addChoice(parent, field) {
  const row = add(parent, "label", { className: "blank" });
  add(row, "span", { textContent: field.name });
  const select = add(row, "select");
  add(select, "option", { value: "", textContent: "请选" });
  field.options.forEach((text, i) => add(select, "option", { value: i, textContent: text }));
  return {
    read: () => (select.value === "" ? null : Number(select.value)),
    raw: () => select.value,
    fill: (value) => (select.value = value),
  };
}

function addSubset(parent, field) {
  const box = add(parent, "fieldset", { className: "subset" });
  add(box, "legend", { textContent: `${field.name}（可选多个）` });
  const inputs = field.options.map((text) => {
    const row = add(box, "label");
    const input = add(row, "input", { type: "checkbox" });
    add(row, "span", { textContent: text });
    return input;
  });
  const chosen = () => inputs.flatMap((input, i) => (input.checked ? [i] : []));
  return {
    read: () => (chosen().length ? chosen() : null),
    raw: chosen,
    fill: (some) => inputs.forEach((input, i) => (input.checked = some.includes(i))),
  };
}

function addOrder(parent, field) {
  let order = field.options.map((_, i) => i);
  const list = add(parent, "ol", { className: "order" }, { "aria-label": field.name });
  function draw(focus) {
    list.replaceChildren();
    order.forEach((item, place) => {
      const row = add(list, "li");
      add(row, "span", { textContent: field.options[item] });
      for (const [sign, word, to] of [["↑", "上移", place - 1], ["↓", "下移", place + 1]]) {
        const name = `${word}${field.options[item]}`;
        const button = add(row, "button", { type: "button", textContent: sign }, { "aria-label": name });
        button.disabled = to < 0 || to >= order.length;
        button.addEventListener("click", () => {
          [order[place], order[to]] = [order[to], order[place]];
          draw(name);
        });
        if (name === focus && !button.disabled) button.focus();
      }
    });
    if (focus && !list.contains(document.activeElement)) list.querySelector("button:enabled").focus();
  }
  draw();
  return {
    read: () => order,
    raw: () => order,
    fill: (saved) => {
      order = saved;
      draw();
    },
  };
}

const BLANKS = {
  number: (parent, field) => addText(parent, field, parseNumber, "一个数"),
  shape: (parent, field) => addText(parent, field, parseShape, "例如 128, 16"),
  choice: addChoice,
  subset: addSubset,
  order: addOrder,
};

// ---- 存：存不进去（隐私模式等）也照常能答，只是不留下来

function storageKey(task) {
  return `ppo:answer:${location.pathname}:${task}`;
}

function load(task, count) {
  try {
    const saved = JSON.parse(localStorage.getItem(storageKey(task)));
    return Array.isArray(saved) && saved.length === count ? saved : null;
  } catch {
    return null;
  }
}

function save(task, answers) {
  try {
    localStorage.setItem(storageKey(task), JSON.stringify(answers));
  } catch {
    // 留不下来
  }
}

function render({ model, el }) {
  const spec = model.get("spec");
  const root = makeRoot(el, spec.task);
  const form = add(root, "form", { className: "answers", noValidate: true });
  const blanks = spec.fields.map((field) => BLANKS[field.kind](form, field));
  add(form, "button", { type: "submit", textContent: "检查" });
  const verdict = add(form, "p", { className: "verdict" }, { role: "status", "aria-live": "polite" });

  function answer() {
    const read = blanks.map((blank, i) => {
      try {
        return blank.read();
      } catch (error) {
        throw new Error((blanks.length > 1 ? `${spec.fields[i].name}：` : "") + error.message);
      }
    });
    const empty = read.findIndex((x) => x === null);
    if (empty < 0) return judge(spec, read);
    return [false, `${spec.fields[empty].name}还没有填。`];
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    let passed = false;
    let message;
    try {
      [passed, message] = answer();
    } catch (error) {
      message = error.message;
    }
    say(verdict, `${passed ? "通过：" : "还不对："}${message}`);
    verdict.classList.toggle("passed", passed);
    const id = spec.task.match(/^练习 (\d+\.\d+)/)?.[1];
    if (passed && id) {
      const detail = { kind: "exercise", id, done: true };
      el.dispatchEvent(new CustomEvent("ppo:progress", { bubbles: true, detail }));
    }
  });

  const keep = () => save(spec.task, blanks.map((blank) => blank.raw()));
  form.addEventListener("input", keep);
  form.addEventListener("click", keep); // 排次序的按钮
  const saved = load(spec.task, blanks.length);
  if (saved) {
    try {
      blanks.forEach((blank, i) => blank.fill(saved[i]));
    } catch {
      // 题目改过了，从前填的对不上
    }
  }
}

export { judge, parseNumber, parseShape };
export default { render };
