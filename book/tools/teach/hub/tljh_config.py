"""The Littlest JupyterHub 的设置，放进 /opt/tljh/config/jupyterhub_config.d/ppo_book.py。"""

c.Spawner.default_url = "/lab/tree/ppo-book/chapters"  # noqa: F821
c.Spawner.environment = {  # noqa: F821
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": lambda spawner: f"/home/jupyter-{spawner.user.name}/ppo-book",
}
c.JupyterHub.load_roles = [  # noqa: F821  收作业的令牌：tljh 里用管理员自己的令牌也行
    {
        "name": "collector",
        "scopes": ["list:users", "admin:servers", "access:servers"],
        "users": ["teacher"],
    }
]
