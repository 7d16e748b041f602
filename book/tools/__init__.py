"""做书的工具。

    extension/  Sphinx 扩展：搜索、检查清单、链接、减重……网页里配置文件办不到的事
    site/       做成网页、打开、预览一章（make book、make html、make zip）
    checks/     查书：正文的毛病，Colab 上跑不跑得通，换几批种子
    generate/   生成提交进仓库的文件：.ipynb、environment.yml、字体、公式、各章的秒数
    teach/      老师用的：作业、打分、全班的进度、课表和笔试

都在仓库的根目录运行，例如 ``python -m book.tools.site.preview chapters/07_clipping.md``。
"""
