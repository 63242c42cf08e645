"""An engine of vLLM's that times what it is told to: one process of `benchmarks/serving.py`, in vLLM's environment.

    python benchmarks/timing/served.py '{"model": …, "dtype": "float32", …}'

It says a line when it is ready; then for each line it reads, a task as JSON, it says how long that took. All as JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is none of it
    from vllm import LLM, SamplingParams

    llm = LLM(
        skip_tokenizer_init=True,
        enable_prefix_caching=False,
        disable_log_stats=True,
        seed=0,
        **json.loads(sys.argv[1]),
    )
    vocabulary = llm.llm_engine.vllm_config.model_config.get_vocab_size()
    chosen = random.Random(0)
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        task = json.loads(line)
        prompts = [
            {"prompt_token_ids": [chosen.randrange(10, vocabulary) for _ in range(task["prompt"])]}
            for _ in range(task["requests"])
        ]
        settings = SamplingParams(temperature=0, max_tokens=task["new"], ignore_eos=True, detokenize=False)
        begin, spent = time.perf_counter(), time.process_time()
        made = llm.generate(prompts, settings, use_tqdm=False)
        took = {"wall": time.perf_counter() - begin, "cpu": time.process_time() - spent}
        assert all(len(one.outputs[0].token_ids) == task["new"] for one in made)
        print(json.dumps(took), file=answers)


if __name__ == "__main__":
    main()
