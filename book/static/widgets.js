// 没有内核的页面上，让 anywidget 的小组件活起来。不发任何请求，从 file:// 打开也能用。
//
// myst-nb 把每个笔记本的小组件状态写进一个 widget-state+json 的脚本（代码、样式、每个同步的量，
// 二进制的量是 base64），再在输出的位置放一个 widget-view+json 的脚本，里面是模型的编号。
// 这里给每个编号造一个没有内核的模型，把代码从 Blob 里 import 进来，交给它一个元素去画。

(() => {
  const STATE = "application/vnd.jupyter.widget-state+json";
  const VIEW = "application/vnd.jupyter.widget-view+json";

  const models = new Map(); // 编号 → 模型；同一个编号的几个视图共用一个
  const modules = new Map(); // 代码 → import 的结果；同一种小组件只 import 一次

  // ---- 模型：anywidget 的 model 里，没有内核也说得通的那一部分

  function makeModel(state) {
    const listeners = new Map(); // 事件名 → 一组函数
    const names = (events) => events.split(/\s+/);
    const emit = (event, ...values) => [...(listeners.get(event) ?? [])].forEach((f) => f(...values));
    const model = {
      get: (name) => state[name],
      set(name, value) {
        const changes = typeof name === "object" ? name : { [name]: value };
        const changed = Object.keys(changes).filter((key) => state[key] !== changes[key]);
        Object.assign(state, changes);
        for (const key of changed) emit(`change:${key}`, model, state[key]);
        if (changed.length) emit("change", model);
      },
      on(events, callback) {
        for (const event of names(events)) {
          if (!listeners.has(event)) listeners.set(event, new Set());
          listeners.get(event).add(callback);
        }
      },
      off(events, callback) {
        if (!events) return listeners.clear();
        for (const event of names(events)) {
          if (callback) listeners.get(event)?.delete(callback);
          else listeners.delete(event);
        }
      },
      save_changes() {}, // 没有内核可以告诉
      send() {},
    };
    return model;
  }

  function decode(base64) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    return new DataView(bytes.buffer); // 与有内核时的类型相同
  }

  // 状态里拿出来单放的二进制，放回它的位置。
  function fullState({ state, buffers = [] }) {
    const full = structuredClone(state);
    for (const { path, data } of buffers) {
      const inside = path.slice(0, -1).reduce((at, key) => at[key], full);
      inside[path[path.length - 1]] = decode(data);
    }
    return full;
  }

  // ---- 代码和样式

  // 做书时把各模型的代码和样式收在 shared 里，模型里只写序号（extension/slim.py）。
  function unshare(states, shared) {
    for (const { state } of Object.values(states))
      for (const name of ["_esm", "_css"])
        if (typeof state[name] === "number") state[name] = shared[state[name]];
    return states;
  }

  function importCode(code) {
    if (!modules.has(code)) {
      const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
      modules.set(code, import(url).finally(() => URL.revokeObjectURL(url)));
    }
    return modules.get(code);
  }

  // default 可以是 {initialize, render}，也可以是返回它的函数；旧的写法直接导出 render。
  async function widgetOf(code) {
    const module = await importCode(code);
    const widget = module.default ?? module;
    return typeof widget === "function" ? widget() : widget;
  }

  function addStyle(css) {
    const known = [...document.querySelectorAll("style[data-widget]")];
    if (!css || known.some((style) => style.textContent === css)) return;
    const style = document.createElement("style");
    style.dataset.widget = "";
    style.textContent = css;
    document.head.append(style);
  }

  async function loadModel(id, saved) {
    const model = makeModel(fullState(saved));
    addStyle(model.get("_css"));
    const widget = await widgetOf(model.get("_esm"));
    await widget.initialize?.({ model, experimental: {} });
    return { model, widget };
  }

  // ---- 视图

  async function show(id, states, parent) {
    const saved = states[id];
    if (!saved) return;
    const el = document.createElement("div");
    if (saved.model_name === "AnyModel") {
      parent.append(el);
      if (!models.has(id)) models.set(id, loadModel(id, saved));
      const { model, widget } = await models.get(id);
      await widget.render?.({ model, el, experimental: {} });
    } else if (/^[VH]?BoxModel$/.test(saved.model_name)) {
      const column = saved.model_name === "VBoxModel";
      el.style.cssText = `display:flex;flex-wrap:wrap;gap:12px;flex-direction:${column ? "column" : "row"}`;
      parent.append(el);
      const children = saved.state.children ?? [];
      await Promise.all(children.map((name) => show(name.replace("IPY_MODEL_", ""), states, el)));
    }
  }

  async function start() {
    const states = {};
    for (const script of document.querySelectorAll(`script[type="${STATE}"]`)) {
      const { state, shared } = JSON.parse(script.textContent);
      Object.assign(states, shared ? unshare(state, shared) : state);
    }
    for (const script of document.querySelectorAll(`script[type="${VIEW}"]`)) {
      const place = document.createElement("div");
      place.className = "ppo-widget-view";
      script.after(place);
      try {
        await show(JSON.parse(script.textContent).model_id, states, place);
      } catch (error) {
        place.textContent = `小组件没有画出来：${error.message}`;
        console.error(error);
      }
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
