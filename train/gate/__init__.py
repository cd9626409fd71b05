"""Trains the gate: is an image dermoscopic, a clinical photograph of skin, or something else?"""
