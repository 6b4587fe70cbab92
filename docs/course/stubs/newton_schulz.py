x = gradient / gradient.norm()  # all singular values at most 1
stages = [torch.linalg.svdvals(x)]
for _ in range(3):
    square = x @ x.T
    x = x  # yours: the polynomial of the text, with the coefficients 3.4445, -4.7750 and 2.0315
    stages.append(torch.linalg.svdvals(x))

right = torch.allclose(x, training.muon.orthogonalised(gradient), atol=1e-4, rtol=1e-3)
print("Newton and Schulz: right" if right else "Newton and Schulz: not yet; the figure below shows what you have")
