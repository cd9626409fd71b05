// Files dropped on the page, for the page of `lesionedge serve` and the phone's app.

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");

/** Mark `target` while files are dragged over the page, and call `take` with those dropped. */
export function onFilesDropped(target, take) {
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    target.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) target.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    target.classList.remove("over");
    take(event.dataTransfer.files);
  });
}
