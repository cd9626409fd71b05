"""Trains the gate: is a picture dermoscopic, a clinical photograph of skin, or something else?"""
