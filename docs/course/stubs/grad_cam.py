weights = torch.zeros_like(gradients[:, :, 0, 0])  # yours: one for each channel, the mean of its gradients
evidence = torch.zeros_like(activations[:, 0])  # yours: a number for each cell, the weighted sum of all channels
cells = evidence  # yours: what speaks for the class, divided by its maximum

theirs = gradcam.METHODS["gradcam"](activations, gradients).detach()
close = {"rtol": 1e-3, "atol": 1e-4}
agrees = torch.allclose(evidence, theirs, **close) and torch.allclose(cells, gradcam.positive_share(theirs), **close)
print("Grad-CAM: right" if agrees else "Grad-CAM: not yet; the helper's map is used below")
evidence, cells = theirs, gradcam.positive_share(theirs)
