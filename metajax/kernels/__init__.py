"""Faster forms of plain operations. Each function equals its plain form; the choice is made at lowering."""
