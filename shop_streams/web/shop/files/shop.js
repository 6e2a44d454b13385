// What the shop itself does on a click; it does not know of the tag.
const button = document.querySelector(".product-item-detail-buy-button");
if (button) {
  button.addEventListener("click", () => {
    const amount = document.querySelector(".product-item-amount-field");
    const said = document.querySelector(".said");
    said.textContent = amount.checkValidity() && amount.value
      ? `In your basket: ${amount.value} × ${document.querySelector("h1").textContent}`
      : "Please choose an amount from 1 to 99.";
  });
}
