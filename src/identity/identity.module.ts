import { Module } from '@nestjs/common';
import { IdentityFunctions } from '../database/identity-functions.js';
import { AuthenticationGuard } from './authentication.guard.js';
import { AuthenticationService } from './authentication.service.js';

/** Who is calling. Needs a global module that provides Database. */
@Module({
  providers: [IdentityFunctions, AuthenticationService, AuthenticationGuard],
  exports: [IdentityFunctions, AuthenticationService, AuthenticationGuard],
})
export class IdentityModule {}
