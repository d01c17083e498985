"use strict";
/* The box in the table's head selects every session of the page. Without scripts it is not there. */
document.addEventListener("DOMContentLoaded", () => {
    const toggle = document.getElementById("action-toggle");
    const boxes = Array.from(document.querySelectorAll("#result_list .action-select"));

    const show = () => {
        for (const box of boxes) {
            box.closest("tr").classList.toggle("selected", box.checked);
        }
        toggle.checked = boxes.every((box) => box.checked);
    };

    toggle.hidden = false;
    toggle.addEventListener("change", () => {
        for (const box of boxes) {
            box.checked = toggle.checked;
        }
        show();
    });
    for (const box of boxes) {
        box.addEventListener("change", show);
    }
    // The browser keeps what was chosen when somebody comes back to this page.
    window.addEventListener("pageshow", show);
});
