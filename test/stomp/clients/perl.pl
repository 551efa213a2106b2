# libnet-stomp-perl: sends with receipts, then receives and acknowledges each. Prints JSON lines.
#
# Usage: perl.pl host port login passcode destination count
use strict;
use warnings;
use JSON::PP;
use Net::Stomp;

my $SECONDS = 60;
my ($host, $port, $login, $passcode, $destination, $count) = @ARGV;
my $json = JSON::PP->new->latin1->canonical;
$| = 1;

sub say_event { print $json->encode({@_}), "\n" }

my $stomp = Net::Stomp->new({ hostname => $host, port => $port, timeout => $SECONDS, receipt_timeout => $SECONDS });

sub take {
    my ($command) = @_;
    my $frame = $stomp->receive_frame or die "nothing came where $command was expected\n";
    die $frame->command . " came where $command was expected: " . $frame->as_string . "\n" if $frame->command ne $command;
    return $frame;
}

# Neither sends nor reads heart-beats by itself, and acknowledges as 1.1 does.
my $connected = $stomp->connect(
    { login => $login, passcode => $passcode, host => $host, 'accept-version' => '1.0,1.1', 'heart-beat' => '0,0' }
);
die "not connected: " . $connected->as_string . "\n" if $connected->command ne 'CONNECTED';
say_event(event => 'connected', version => $connected->headers->{version});
for my $n (0 .. $count - 1) {
    # Bytes: it counts characters otherwise.
    my $sent = $stomp->send_with_receipt(
        { destination => $destination, body => "message $n \xc3\xa4", bytes_message => 1 }, my $receipt);
    die "no receipt\n" if !$sent;
    say_event(event => 'receipt', id => $receipt->headers->{'receipt-id'});
}
$stomp->subscribe({ destination => $destination, id => '1', ack => 'client-individual' });
for my $n (0 .. $count - 1) {
    my $message = take('MESSAGE');
    my $body = $message->body;
    utf8::decode($body);
    print JSON::PP->new->ascii->canonical->encode({ event => 'message', body => $body }), "\n";
    $stomp->ack({ frame => $message, subscription => '1' });
}
$stomp->unsubscribe({ destination => $destination, id => '1', receipt => 'bye' });
say_event(event => 'receipt', id => take('RECEIPT')->headers->{'receipt-id'});
$stomp->disconnect;
