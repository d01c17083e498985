"""Which preset dictionaries may a record have been compressed with?

A preset dictionary is text that both sides know, so that a short session need not carry it.
Frozen and numbered: a record names its dictionary by number for as long as it lives, so a
published entry is never edited; a better one gets the next number (tests pin each by digest).
Numbers from 128 are left to dictionaries that a project trains on its own sessions.

Deflate reaches nearer text with fewer bits, so what nearly every session holds stands last.
"""

from __future__ import annotations

_FIRST = (
    # Rare things first: words of shops, wizards and single sign-on.
    b'"utm_source":"google","utm_medium":"cpc","utm_campaign":"newsletter","referrer":"https://www.'
    b'"oidc_id_token_expiration":"oidc_access_token":"oidc_id_token":"oidc_states":{"oidc_login_next":'
    b'"saml_session":"_saml2_authn":"impersonate":"hijack_history":["otp_device_id":"otp_totp.totpdevice/1"'
    b'"social_auth_last_login_backend":"google-oauth2","google-oauth2_state":"partial_pipeline_token":"'
    b'"socialaccount_states":{"socialaccount_sociallogin":{"account":{"provider":"github","uid":"'
    b'"email_addresses":[{"email":"@gmail.com","@example.com","verified":true,"primary":true}],"token":{'
    b'"access_token":"refresh_token":"token_secret":"expires_at":"id_token":"state":{"phone":"address":{'
    b'"street":"city":"country":"postal_code":"first_name":"last_name":"company":"description":"title":"'
    b'"wizard_checkout_wizard":{"step":"step_data":{"step_files":{},"extra_data":{"csrfmiddlewaretoken":["'
    b'"shipping_method":"payment_method":"shipping_address_id":"billing_address_id":"order_id":"voucher":"'
    b'"recently_viewed":["favorites":[],"filters":{"status":"active","sort":"-created","order_by":"name",'
    b'"query":"search":"page":1,"per_page":25,"view":"list","category":"color":"size":"image":"url":"slug":"'
    b'"last_activity":"last_seen":"created_at":"updated_at":"login_time":"timestamp":"date":"2026-01-01T'
    b'"tenant_id":"organization_id":"account_id":"customer_id":"project_id":"workspace":"role":"admin",'
    b'"permissions":["theme":"dark","timezone":"Europe/Berlin","django_timezone":"America/New_York",'
    b'"currency":"EUR","USD","language":"_language":"en-us","de","fr","es","locale":"en_US","country":"US",'
    b'"cart":{"items":[{"product_id":1,"id":1,"sku":"name":"quantity":1,"qty":1,"price":"9.99","price":"19.90",'
    b'"total":"0.00","subtotal":"count":0,"discount":null,"updated":"}],"cart_id":"basket":{"1":2,"2":1}},'
    b'"messages":[],"notice":"error":"success":"user_id":"username":"email":"next":"/accounts/login/?next=/",'
    b'"_messages":"[[\\"__json_message\\",0,25,\\"Successfully signed in as .\\",\\"\\"]]",'
    b'"[[\\"__json_message\\",0,20,\\"You have signed out.\\"]]","testcookie":"worked",'
    b'"_password_reset_token":"set-password","account_verified_email":null,"account_user":"1",'
    b'"account_login":{"account_authentication_methods":[{"method":"socialaccount","provider":"google","uid":"'
    b'"account_authentication_methods":[{"method":"password","at":17,"email":"@example.org","username":"'
    b"0123456789abcdef-4000-8000-000000000000"
    b"+00:00T00:00:00.000000Z"
    b'null,true,false,[],{},"",0,1,"},{"],["}]},'
    b'"_csrftoken":"'
    b'"_session_expiry":1209600,"_session_expiry":0,"_session_expiry":"2026-12-01T00:00:00+00:00"'
    b'"_auth_user_backend":"allauth.account.auth_backends.AuthenticationBackend",'
    b'{"_auth_user_id":"1","_auth_user_backend":"django.contrib.auth.backends.ModelBackend",'
    b'"_auth_user_hash":"'
)

#: ``{number: text}``; a record's header holds the number.
DICTIONARIES: dict[int, bytes] = {1: _FIRST}

#: The dictionary that new records are compressed with.
NEWEST = 1
