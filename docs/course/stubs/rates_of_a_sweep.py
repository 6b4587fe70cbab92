short = rates.Sweep(start_lr=1e-4, end_lr=1e-2, steps=12)
lrs = [short.start_lr] * short.steps  # yours: from start_lr to end_lr, each rate the same factor times the one before

right = np.allclose(lrs, short.rates())
print("the rates: right" if right else "the rates: not yet; those of the helper are used below")
by_hand = train(*start(), lrs if right else short.rates())
