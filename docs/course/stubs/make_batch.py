def make_batch(images, pipeline, batch_size, epoch, batch):
    """A batch as a function of (seed, epoch, batch)."""
    order = np.arange(len(images))  # yours: a permutation drawn from the key (seed, epoch, 0)
    chosen = order[:batch_size]  # yours: the places of this batch in that order
    stream = np.random.default_rng()  # yours: a generator of the key (seed, epoch, batch + 1)
    pipeline.set_random_state(stream, random.Random(int(stream.integers(2**63))))
    return np.stack([pipeline(image=image)["image"] for image in images[chosen]])


made = [make_batch(ds.train.images, pipeline, 64, 1, batch) for batch in range(3)]
loader = data.TrainLoader(ds.train, recipe.transforms, ds.mean, 64, seed)
right = all(np.array_equal(mine, images) for mine, (images, _) in zip(made, loader.epoch(1)))
print("make_batch: right" if right else "make_batch: not yet; the helper's batches are used below")
