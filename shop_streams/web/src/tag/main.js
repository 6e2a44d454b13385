window.divolte = window.divolte || {};
