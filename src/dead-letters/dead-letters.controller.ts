import { Body, Controller, Headers, Param, Post, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { accept, API_VERSION, IF_MATCH_HEADER, Operation, WORK_REQUEST_HEADER } from '../rest/operation.js';
import {
  deleteDeadLettersDetails,
  deleteDeadLettersResult,
  redriveDeadLettersDetails,
  resendDeadLetterDetails,
  resentDeadLetter,
  type DeleteDeadLettersResult,
  type ResentDeadLetter,
} from './dead-letter.schemas.js';
import { DeadLettersService } from './dead-letters.service.js';

@ApiTags('dead letters')
@Controller(`${API_VERSION}/queues/:queueId/deadLetters`)
export class DeadLettersController {
  constructor(private readonly deadLetters: DeadLettersService) {}

  @Post('actions/redrive')
  @Operation({
    id: 'redriveDeadLetters',
    summary: 'Moves dead letters back to where they came from, or to another queue',
    description:
      'One, some, those that a filter takes, or all; those that die from now on not. In their own queue messages keep ' +
      'id, content, createdAt, expireAfter, channel and consumer group, and count no deliveries; in another queue they ' +
      'are new messages. What a consumer of the dead letter queue holds is skipped. One redrive at a time per queue. ' +
      'The work request tells how far it is; cancelWorkRequest ends it.',
    permission: 'use queues',
    takesDeadLetters: true,
    isExtension: true,
    success: { status: 202, description: 'The redrive has begun. No body.', headers: WORK_REQUEST_HEADER },
    errors: ['IncorrectState', 'NoEtagMatch', 'UnsupportedMediaType', 'PayloadTooLarge'],
    headers: IF_MATCH_HEADER,
  })
  async redrive(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Body({ schema: redriveDeadLettersDetails }) details: z.infer<typeof redriveDeadLettersDetails>,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    accept(reply, await this.deadLetters.redrive(caller, queueId, details, ifMatch));
  }

  @Post('actions/delete')
  @Operation({
    id: 'deleteDeadLetters',
    summary: 'Deletes dead letters by id, without a receipt',
    description:
      'Each succeeds or fails for itself. One that a consumer of the dead letter queue holds is left to it (409).',
    permission: 'use queues',
    takesDeadLetters: true,
    isExtension: true,
    success: { status: 200, description: 'A result per message id, in order.', schema: deleteDeadLettersResult },
    errors: ['UnsupportedMediaType', 'PayloadTooLarge'],
  })
  delete(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Body({ schema: deleteDeadLettersDetails }) details: z.infer<typeof deleteDeadLettersDetails>,
  ): Promise<DeleteDeadLettersResult> {
    return this.deadLetters.delete(caller, queueId, details);
  }

  @Post('actions/resend')
  @Operation({
    id: 'resendDeadLetter',
    summary: 'Puts a changed copy of a dead letter in its place',
    description:
      'A new message, with a new id and expiry, whose custom property `towpath.resentFrom` names the old one as ' +
      '`<queue OCID>/<id>`; the dead letter is deleted in the same transaction. In the same queue it is for the ' +
      'consumer group whose dead letter it was, in another queue for the groups there.',
    permission: 'use queues',
    takesDeadLetters: true,
    isExtension: true,
    success: { status: 200, description: 'The new message.', schema: resentDeadLetter },
    errors: ['IncorrectState', 'LimitExceeded', 'UnsupportedMediaType', 'PayloadTooLarge'],
  })
  resend(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Body({ schema: resendDeadLetterDetails }) details: z.infer<typeof resendDeadLetterDetails>,
  ): Promise<ResentDeadLetter> {
    return this.deadLetters.resend(caller, queueId, details);
  }
}
