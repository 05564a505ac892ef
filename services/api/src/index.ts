export { apiService } from './api-service.js';
