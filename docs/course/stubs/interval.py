n, mean, s = len(ours), statistics.fmean(ours), statistics.stdev(ours)
half = float("nan")  # yours: t · s / √n, where 2.5 % of Student's distribution (stats.t) for n − 1 lie above t
summary = results.mean(ours)

right = math.isclose(summary.low, mean - half) and math.isclose(summary.high, mean + half)
print("the interval: right" if right else "the interval: not yet; the figure below shows that of the helper")
