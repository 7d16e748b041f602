"""集线器：一台机器不够时，给全班一人一间的 JupyterHub；怎样装见 README.txt。"""
