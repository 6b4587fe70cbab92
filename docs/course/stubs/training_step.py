ours = training.State(setting, len(loader))
model, optimizer, scaler = ours.model, ours.optimizer, ours.scaler
model.train()
for group in optimizer.param_groups:
    group["lr"] = float(ours.plan[0])  # schedule
loss = torch.tensor(0.0)  # yours, in place of this line: forward, loss (with logit scale and smoothing), backward, step

theirs = training.State(setting, len(loader))
their_loss, logits = training.train_step(theirs, images, labels, used, compute)
pairs = zip(model.state_dict().values(), theirs.model.state_dict().values())
right = bool(loss > 0) and all(torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-5) for a, b in pairs)
print("the step: right" if right else "the step: not yet; what the helper's step gives is used below")
ours, loss, scores = theirs, their_loss, logits.float() * used.logit_scale
