// Swagger UI with the API's own description. Nothing is loaded from another host.
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import "swagger-ui-dist/swagger-ui.css";

SwaggerUI({ domNode: document.getElementById("docs"), url: "/openapi.json", validatorUrl: null, deepLinking: true });
