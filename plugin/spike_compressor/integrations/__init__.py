"""Bridges to other people's tools: lm-evaluation-harness, vLLM."""
