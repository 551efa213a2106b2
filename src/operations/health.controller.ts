import { Controller, Get, HttpCode, Res } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Public } from '../identity/permission.js';
import { Readiness } from './readiness.js';

const status = (example: string, more: object = {}): object => ({
  content: {
    'application/json': {
      schema: { type: 'object', required: ['status'], properties: { status: { type: 'string', example }, ...more } },
    },
  },
});
const WARNING = {
  warning: { type: 'string', description: 'What an operator should look at, although the pod is ready.' },
};

@ApiTags('operations')
@Controller()
@Public()
export class HealthController {
  constructor(private readonly readiness: Readiness) {}

  @Get('livez')
  @ApiOperation({
    operationId: 'livez',
    summary: 'Is the process alive?',
    description: 'Never asks the database: a pod is not restarted because the database is away.',
  })
  @ApiResponse({ status: 200, description: 'It is.', ...status('alive') })
  @HttpCode(200)
  livez(): { status: string } {
    return { status: 'alive' };
  }

  @Get('readyz')
  @ApiOperation({
    operationId: 'readyz',
    summary: 'Should a load balancer send requests here?',
    description: 'Not while the database cannot be reached, nor once the pod is stopping.',
  })
  @ApiResponse({ status: 200, description: 'Yes.', ...status('ready', WARNING) })
  @ApiResponse({ status: 503, description: 'No, and why.', ...status('the database cannot be reached', WARNING) })
  async readyz(@Res({ passthrough: true }) reply: FastifyReply): Promise<{ status: string; warning?: string }> {
    const reason = await this.readiness.whyNot();
    if (reason !== null) void reply.status(503);
    const { warning } = this.readiness;
    return { status: reason ?? 'ready', ...(warning === null ? {} : { warning }) };
  }
}
