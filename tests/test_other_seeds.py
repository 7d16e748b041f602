"""换种子再运行一页：只对一批种子成立的断言，查得出来。"""

import pytest

from book.tools.checks import other_seeds

PAGE = """---
kernelspec: {{name: python3, display_name: Python 3}}
---

```{{code-cell}} ipython3
from ppo_lib import PPOConfig, train

cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=4096, num_envs=4, num_seeds=1)
run = train(cfg, progress=False).metrics
```

```{{code-cell}} ipython3
assert run["return"].mean() > 5
```

```{{code-cell}} ipython3
assert float(run["actor_loss"][0, 0]) == {actor_loss!r}
```

```{{code-cell}} ipython3
:tags: [this-seed]

assert float(run["actor_loss"][0, 0]) == {actor_loss!r}, "这一批种子才有"
```
"""


@pytest.mark.slow
@pytest.mark.usefixtures("fully_optimized")  # 与内核里的逐位相同
def test_a_claim_about_one_seed_is_found(tmp_path):
    from ppo_lib import PPOConfig, train

    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=4096, num_envs=4, num_seeds=1)
    value = float(train(cfg, progress=False).metrics["actor_loss"][0, 0])
    page = tmp_path / "page.md"
    page.write_text(PAGE.format(actor_loss=value), encoding="utf-8")

    (failure,) = other_seeds.failures(page, 1000)
    assert failure.startswith("AssertionError") and "actor_loss" in failure
    assert "这一批种子才有" not in failure
    assert other_seeds.failures(page, 0) == []
