def one_cycle(step, last_step, peak_step, min_lr, max_lr):
    share = 0  # yours: 0 at step 0, 1 at the peak, 0 at the last step, and straight lines between them
    return (1 - share) * min_lr + share * max_lr


def by_numpy(step, last_step, peak_step, min_lr, max_lr):
    return np.interp(step, [0, peak_step, last_step], [min_lr, max_lr, min_lr])


planned = [one_cycle(step, 23, 5, 0.04, 0.4) for step in range(24)]
right = np.allclose(planned, training.schedules.one_cycle_plan(24, 5 / 24, 0.04, 0.4))
print("one cycle: right" if right else "one cycle: not yet; below, NumPy stands in for it")
one_cycle = one_cycle if right else by_numpy
