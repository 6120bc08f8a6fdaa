"""Training losses as one integral over log-SNR: L = integral of w(lambda) E|eps^ - eps|^2 d lambda. A loss is its w; a training schedule is a distribution of lambda to sample it with.

Kingma and Gao 2023; Gao et al. 2024.
"""

from __future__ import annotations

import math

import torch

from .interpolants import rate


def normal(x, mean, std):
    return (-(((x - mean) / std) ** 2) / 2).exp() / (std * math.sqrt(2 * math.pi))


# Distributions of lambda that losses are trained with


def density(schedule, log_snr):
    """p(lambda) when time is uniform over [0, 1]: |dt / dlambda|. The training schedule is this importance distribution and nothing else."""
    t = schedule.time(log_snr)
    return 1 / rate(schedule.log_snr, t).abs()


def logit_normal(log_snr, mean=0.0, std=1.0):
    """p(lambda) of SD3's flow times, t = sigmoid(N(mean, std^2)): lambda = -2 logit t."""
    return normal(log_snr, -2 * mean, 2 * std)


def log_normal(log_snr, p_mean=-1.2, p_std=1.2):
    """p(lambda) of EDM's noise levels, log sigma ~ N(p_mean, p_std^2): lambda = -2 log sigma."""
    return normal(log_snr, -2 * p_mean, 2 * p_std)


# What a squared error of another output is worth in units of eps: |o^ - o|^2 = worth |eps^ - eps|^2


def worth_of_x0(log_snr):
    return (-log_snr).exp()


def worth_of_v(log_snr):
    """1 / alpha^2 on the circle alpha^2 + sigma^2 = 1."""
    return 1 + (-log_snr).exp()


def worth_of_flow(log_snr):
    """1 / alpha^2 on the line alpha + sigma = 1."""
    return (1 + (-log_snr / 2).exp()) ** 2


# Weightings w(lambda)


def eps_mse(schedule, log_snr):
    """Plain eps-prediction with uniform time."""
    return density(schedule, log_snr)


def v_mse(schedule, log_snr):
    """Plain v-prediction with uniform time."""
    return density(schedule, log_snr) * worth_of_v(log_snr)


def flow_matching(schedule, log_snr):
    """Plain velocity prediction, noise - data, with uniform time."""
    return density(schedule, log_snr) * worth_of_flow(log_snr)


def edm(log_snr, p_mean=-1.2, p_std=1.2, sigma_data=0.5):
    """Karras et al. 2022: log-normal levels, x0-errors weighted by (sigma^2 + sd^2) / (sigma sd)^2."""
    return log_normal(log_snr, p_mean, p_std) * ((-log_snr).exp() + sigma_data**2) / sigma_data**2


def sd3(log_snr, mean=0.0, std=1.0):
    """Esser et al. 2024: flow matching with logit-normal times."""
    return logit_normal(log_snr, mean, std) * worth_of_flow(log_snr)


def sigmoid(log_snr, bias=2.0):
    """Kingma and Gao 2023; Hoogeboom et al. 2024: sigmoid(bias - lambda)."""
    return torch.sigmoid(bias - log_snr)


def correlation(a, b):
    """Pearson's, of two curves on one grid."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def in_other_units(weighting, spread):
    """A weighting made for data of that spread, as a function of the log-SNR of the same data brought to spread 1."""
    return lambda log_snr: weighting(log_snr - 2 * math.log(spread))
