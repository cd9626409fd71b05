"""Measures predictions against labels: figures with intervals, plots and a report.

Needs the extra ``evaluate`` (scikit-learn, scipy, pandas, matplotlib, Jinja2); nothing that
predicts imports it.
"""
