// Figures enlarge: each becomes a button, by mouse or keyboard, that shows it in a dialog; Escape or a click closes it.
document.addEventListener("DOMContentLoaded", () => {
  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  dialog.setAttribute("aria-label", "Enlarged figure");
  const large = document.createElement("img");
  const close = document.createElement("button");
  close.textContent = "Close";
  dialog.append(close, large);
  document.body.append(dialog);
  dialog.addEventListener("click", () => dialog.close());

  for (const image of document.querySelectorAll(".cell_output img, img.enlarge")) {
    const button = document.createElement("button");
    button.className = "enlarge";
    button.title = "Enlarge";
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => {
      large.src = image.src;
      large.alt = image.alt;
      dialog.showModal();
    });
  }
});
