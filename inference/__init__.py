"""Inference: the wire to SGLang servers, their launcher, and a scripted fake that passes the same contract."""
