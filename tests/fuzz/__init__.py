"""Damaged and odd inputs, drawn at random: each is refused in a sentence, or gives the right number.

python -m tests.fuzz --cases 600 --seed 0
"""
