"""边做边读：还没有运行完的页上写明，运行完了自己刷新。做好的书里没有这些。"""

from sphinx.application import Sphinx

NOTICE = """<div class="admonition note" id="ppo-waiting" role="status">
<p class="admonition-title">这一页还在运行</p>
<p>文字和代码可以先读；图、表和数字要等运行完。完了以后，这一页会自己刷新。</p>
</div>
<script>
setInterval(async () => {
  const page = await fetch(location.href, { cache: "no-store" }).catch(() => null);
  if (page?.ok && !(await page.text()).includes('id="ppo-waiting"')) location.reload();
}, 2000);
</script>
"""


def tell_reader(app: Sphinx, pagename, templatename, context, doctree) -> None:
    if pagename in app.config.book_waiting:
        context["body"] = NOTICE + context["body"]


def setup(app: Sphinx) -> dict:
    app.add_config_value("book_waiting", set(), "", set)  # 由 site/build.py 逐次改写
    app.connect("html-page-context", tell_reader)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
