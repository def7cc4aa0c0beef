"""Pretrained models behind one face."""
