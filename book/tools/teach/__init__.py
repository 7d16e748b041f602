"""老师用的工具；都不进学生的书和压缩包。

    python -m book.tools.teach.assignments            由各章的源写出三份作业（make assignments）
    python -m book.tools.teach.grade gae 交来的/       给一个文件夹的作业打分，写出一张表
    python -m book.tools.teach.collate 进度/          把学生导出的进度合成一张表和一张图
    python -m book.tools.teach.pack                   幻灯片、课表、样卷、样板报告（make teacher）
    python -m book.tools.teach.memory                 各章要多少内存，记进 memory.json

打分时，学生的代码在沙盒里的一个进程里运行（``sandbox``、``driver``），题目和判法在外面（``grade``）：
里面只收到输入，只交回数；期望的结果从不进去。
"""
