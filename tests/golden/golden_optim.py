"""Golden sequences of optimizers, schedules and gradient clipping, see README.md."""
import torch

from golden_layout import draw, leaf, plain, stored

# name, class, arguments of PyTorch, which are also attune's unless renamed in the test
OPTIMIZERS = [
    ("sgd", torch.optim.SGD, {"lr": 0.1}),
    ("sgd, weight decay", torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.05}),
    ("sgd, momentum", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("sgd, dampening", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("sgd, nesterov", torch.optim.SGD,
     {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}),
    ("adam", torch.optim.Adam, {"lr": 0.01}),
    ("adam, weight decay", torch.optim.Adam,
     {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("adamw", torch.optim.AdamW, {"lr": 0.02}),
    ("adamw, weight decay", torch.optim.AdamW,
     {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.3}),
]
STEPS = 7
WITHOUT_GRADIENT = 3  # at this step the second parameter has no gradient


def optimizers():
    """Two parameter groups, the second with twice the rate and no weight decay. Every sequence
    starts from the same values and sees the same gradients."""
    initial = [draw(3, 4), draw(5)]
    grads = [[draw(3, 4), draw(5)] for _ in range(STEPS)]
    cases = []
    for name, kind, arguments in OPTIMIZERS:
        params = [leaf(value) for value in initial]
        groups = [{"params": [params[0]]},
                  {"params": [params[1]], "lr": 2 * arguments["lr"], "weight_decay": 0.0}]
        optimizer = kind(groups, **arguments)
        history = []
        for step in range(STEPS):
            params[0].grad = grads[step][0].clone()
            params[1].grad = None if step == WITHOUT_GRADIENT else grads[step][1].clone()
            optimizer.step()
            history.append([stored(param) for param in params])
        settings = dict(arguments)
        if "betas" in settings:
            settings["beta1"], settings["beta2"] = settings.pop("betas")
        cases.append({"name": name, "kind": kind.__name__, "settings": settings,
                      "params": history})
    return {"initial": [stored(value) for value in initial],
            "grads": [[stored(grad) for grad in row] for row in grads],
            "without_gradient": WITHOUT_GRADIENT, "cases": cases}


BASE_LR = 0.5


def one_parameter():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE_LR)


def sequence(optimizer, scheduler, steps, metrics=None):
    """The learning rate in front of each step, as a factor of the base rate; with metrics, the one
    after each observation."""
    factors = []
    for step in range(steps):
        if metrics is None:
            factors.append(optimizer.param_groups[0]["lr"] / BASE_LR)
        optimizer.step()
        scheduler.step(*([] if metrics is None else [metrics[step]]))
        if metrics is not None:
            factors.append(optimizer.param_groups[0]["lr"] / BASE_LR)
    return plain(torch.tensor(factors))


def schedules():
    from torch.optim import lr_scheduler as lr

    def one_cycle(optimizer, **arguments):
        return lr.OneCycleLR(optimizer, max_lr=BASE_LR, cycle_momentum=False, **arguments)

    def warm_up(optimizer, steps, start_factor, total):
        return lr.SequentialLR(optimizer, [
            lr.LinearLR(optimizer, start_factor=start_factor, total_iters=steps),
            lr.CosineAnnealingLR(optimizer, total),
        ], milestones=[steps])

    results = {}
    for name, make, steps in (
        ("StepLr(4, 0.3)", lambda o: lr.StepLR(o, 4, 0.3), 15),
        ("MultiStepLr({3, 5, 11}, 0.2)", lambda o: lr.MultiStepLR(o, [3, 5, 11], 0.2), 15),
        ("CosineLr(12)", lambda o: lr.CosineAnnealingLR(o, 12), 13),
        ("CosineLr(12, 0.1)", lambda o: lr.CosineAnnealingLR(o, 12, eta_min=0.1 * BASE_LR), 13),
        ("OneCycleLr(20)", lambda o: one_cycle(o, total_steps=20), 20),
        ("OneCycleLr(17, {0.25, 10, 100})",
         lambda o: one_cycle(o, total_steps=17, pct_start=0.25, div_factor=10,
                             final_div_factor=100), 17),
        ("LinearWarmup(5, CosineLr(10), 0.2)", lambda o: warm_up(o, 5, 0.2, 10), 16),
    ):
        optimizer = one_parameter()
        results[name] = sequence(optimizer, make(optimizer), steps)

    # Falls, stalls within the threshold, rises, falls again, stalls.
    metrics = [5, 4, 3, 2.9999, 2.9998, 3.5, 3.6, 2.5, 2.5, 2.5, 2.5, 2.5, 2.4, 2.4, 2.4, 2.4, 2.4,
               2.4, 2.4, 2.4]
    plateaus = []
    for settings in (
        {"mode": "min", "factor": 0.5, "patience": 2},
        {"mode": "min", "factor": 0.5, "patience": 1, "cooldown": 2, "min_lr": 0.2 * BASE_LR},
        {"mode": "min", "factor": 0.5, "patience": 0, "threshold": 0.5, "threshold_mode": "abs"},
        {"mode": "max", "factor": 0.5, "patience": 3, "threshold": 0.01},
        {"mode": "max", "factor": 0.5, "patience": 2, "threshold": 0.2, "threshold_mode": "abs"},
    ):
        optimizer = one_parameter()
        scheduler = lr.ReduceLROnPlateau(optimizer, **settings)
        settings = dict(settings)
        settings["min_factor"] = settings.pop("min_lr", 0) / BASE_LR
        plateaus.append({"settings": settings,
                         "factors": sequence(optimizer, scheduler, len(metrics), metrics)})
    return {"schedules": results, "metrics": metrics, "plateaus": plateaus}


def clip_grad():
    cases = []
    for kind, limit in (("norm", 0.75), ("norm", 100.0), ("value", 0.25)):
        params = [leaf(draw(3, 4)), leaf(draw(5)), leaf(draw(2))]  # the last has no gradient
        for param in params[:2]:
            param.grad = draw(*param.shape)
        before = [stored(param.grad) for param in params[:2]]
        if kind == "norm":
            norm = torch.nn.utils.clip_grad_norm_(params, limit).item()
        else:
            norm = None
            torch.nn.utils.clip_grad_value_(params, limit)
        cases.append({"kind": kind, "limit": limit, "norm": norm, "before": before,
                      "after": [stored(param.grad) for param in params[:2]]})
    return {"cases": cases}
