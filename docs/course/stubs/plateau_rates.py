def plateau_rates(losses, lr, factor, patience):
    """The rate of every epoch, one for each loss."""
    best, bad, rates = math.inf, 0, []
    for loss in losses:
        rates.append(lr)  # the rate that led to this loss
        if loss < best * (1 - 1e-4):
            best, bad = loss, 0
        if bad > patience:
            lr = lr  # yours: rule 3; and rule 2 is missing above
    return rates


def by_the_helper(losses, lr, factor, patience):
    return [state.lr for state in training.schedules.plateau_states(losses, lr, factor, patience)]


known = [2.0, 1.5, 1.6, 1.4, 1.45, 1.41, 1.42, 1.43, 1.3, 1.29999, 1.29998, 1.2]  # with three cuts
states = training.schedules.plateau_states(known, 0.1, factor=0.1, patience=1)
right = plateau_rates(known, 0.1, 0.1, 1) == [state.lr for state in states]
print("the plateau: right" if right else "the plateau: not yet; below, the helper stands in for it")
plateau_rates = plateau_rates if right else by_the_helper
