total = activations.sum((2, 3), keepdim=True)  # S, one for each channel
alpha = torch.ones_like(gradients)  # yours: one for each cell, from the formula above
by_hand = torch.zeros_like(activations[:, 0])  # yours: a weight for each channel, then the weighted sum of all

theirs = gradcam.METHODS["gradcam++"](activations, gradients)
agrees = torch.allclose(by_hand, theirs, rtol=1e-3, atol=1e-4)
print("Grad-CAM++: right" if agrees else "Grad-CAM++: not yet; everything below runs with the helper's")
