"""Mutation testing: changes the code a little, and sees whether a test notices."""
