// Tells the tag about each click on the buy button. The button works without the tag, too.
document.addEventListener("click", function (event) {
  var button = event.target.closest && event.target.closest(".product-item-detail-buy-button");
  if (!button || !window.divolte) return;
  var price = document.querySelector(".product-item-detail-price-current");
  var amount = document.querySelector(".product-item-amount-field");
  divolte.signal("buy_button_click", {
    price: price ? price.textContent.trim() : "",
    amount: amount ? amount.value : ""
  });
}, true);
